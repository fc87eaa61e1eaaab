"""What waits for the writer, and which keys still count."""

import asyncio

import pytest

from broker.engines.queued import Clearing, KeyWindow, Queued, Ticket
from extra.errors import EngineUnavailable
from tests.unit.pubsub.material import a_message, settle


async def test_a_ticket_is_waited_for_until_all_is_decided() -> None:
    ticket = Ticket(2)
    waiting = asyncio.ensure_future(ticket.decided())
    await settle()
    ticket.decide(1, 3)
    await settle()
    assert not waiting.done()
    error = EngineUnavailable("no")
    ticket.decide(0, error)
    await waiting
    assert ticket.answers == [error, 3]
    await ticket.decided()


async def test_who_is_cancelled_leaves_when_it_is_decided() -> None:
    ticket = Ticket(1)
    waiting = asyncio.ensure_future(ticket.decided())
    for _ in range(2):
        await settle()
        waiting.cancel()
    await settle()
    assert not waiting.done()
    ticket.decide(0, 1)
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_a_ticket_for_nothing_is_decided() -> None:
    await Ticket(0).decided()


def test_the_answer_is_returned_or_raised() -> None:
    ticket = Ticket(1)
    ticket.decide(0, 5)
    assert ticket.answer() == 5
    refused = Ticket(1)
    refused.decide(0, EngineUnavailable("no"))
    with pytest.raises(EngineUnavailable):
        refused.answer()


def test_what_is_queued_knows_its_place_and_who_waits() -> None:
    ticket = Ticket(1)
    message = a_message()
    queued = Queued(message, 7, 1.0, 2.0, b"k", False, True, ticket, 3)
    assert (queued.message, queued.offset, queued.now, queued.time, queued.key) == (
        message,
        7,
        1.0,
        2.0,
        b"k",
    )
    assert (queued.is_kept, queued.ticket, queued.number) == (False, ticket, 3)
    clearing = Clearing("a", 7, ticket)
    assert (clearing.topic, clearing.offset, clearing.ticket) == ("a", 7, ticket)


def test_keys_count_for_so_long() -> None:
    keys = KeyWindow(10.0, 100)
    assert not keys.has_old(0.0)
    keys.add(5, 0.0, 2)
    keys.add(9, 4.0, 1)
    assert (keys.drop_old(9.9), keys.count) == (0, 3)
    assert (keys.drop_old(10.0), keys.count) == (5, 1)
    assert (keys.drop_old(20.0), keys.count) == (9, 0)


def test_so_many_keys_count() -> None:
    """In steps: of keys that were written together all are kept or none."""
    keys = KeyWindow(10.0, 4)
    for offset in (2, 4, 6, 8):
        keys.add(offset, 0.0, 2)
    assert (keys.drop_old(0.0), keys.count) == (4, 4)


def test_keys_that_were_dropped_in_vain_are_dropped_again() -> None:
    keys = KeyWindow(10.0, 100)
    keys.add(3, 0.0, 1)
    assert keys.drop_old(10.0) == 3
    keys.owe(3)
    keys.owe(0)
    assert keys.has_old(0.0)
    keys.add(5, 5.0, 1)
    assert keys.drop_old(10.0) == 3
    assert not keys.has_old(10.0)
    assert keys.drop_old(15.0) == 5
