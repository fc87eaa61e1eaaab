"""States on their way to the file: what is newest, and what those who wait are told."""

import asyncio

import pytest

from broker.engines.states import States
from extra.errors import EngineUnavailable, InvalidCommand, LimitExceeded
from tests.unit.pubsub.material import settle


def test_the_newest_value_is_taken_and_an_empty_one_as_well() -> None:
    states = States()
    states.keep("group", "a", b"1")
    states.keep("group", "a", b"2")
    states.keep("session", "a", b"")
    assert states.take() == {("group", "a"): b"2", ("session", "a"): b""}
    assert states.waiting == {}
    states.written()
    assert states.written_total == 2


def test_what_fails_waits_again_behind_what_is_newer() -> None:
    states = States()
    for name in "ab":
        states.keep("k", name, b"old")
    states.take()
    states.keep("k", "b", b"new")
    states.keep("k", "c", b"new")
    states.failed(EngineUnavailable("full"))
    assert states.waiting == {("k", "a"): b"old", ("k", "b"): b"new", ("k", "c"): b"new"}
    states.written()
    assert states.written_total == 0


async def test_who_waits_is_told_when_all_that_was_kept_by_then_is_written() -> None:
    states = States()
    await states.settled("")
    states.keep("k", "a", b"1")
    first = asyncio.ensure_future(states.settled(""))
    await settle()
    states.take()
    states.keep("k", "a", b"2")
    second = asyncio.ensure_future(states.settled(""))
    await settle()
    states.written()
    await settle()
    assert (first.done(), second.done()) == (True, False)
    states.take()
    states.written()
    await asyncio.gather(first, second)
    await states.settled("nothing waits")


async def test_who_waits_is_told_that_it_failed_and_who_asks_afterwards_at_once() -> None:
    states = States()
    states.keep("k", "a", b"1")
    waiting = [asyncio.ensure_future(states.settled("")) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    await settle()
    states.take()
    states.failed(EngineUnavailable("full"))
    await settle()
    assert waiting[0].cancelled()
    assert isinstance(waiting[1].exception(), EngineUnavailable)
    with pytest.raises(EngineUnavailable, match="still full"):
        await states.settled("still full")


async def test_who_is_cancelled_while_waiting_disturbs_nobody() -> None:
    states = States()
    states.keep("k", "a", b"1")
    waiting = asyncio.ensure_future(states.settled(""))
    await settle()
    waiting.cancel()
    await settle()
    states.take()
    states.written()
    assert waiting.cancelled()


def test_what_was_left_is_given_out_once_by_kind_and_in_order() -> None:
    states = States()
    for kind, name in (("k", "b"), ("k", "a"), ("other", "c")):
        states.restore(kind, name, name.encode())
    assert states.restored("k") == [("a", b"a"), ("b", b"b")]
    assert states.restored("k") == []
    assert states.restored("other") == [("c", b"c")]


def test_what_cannot_be_a_row_is_refused_alone() -> None:
    states = States(value_limit_bytes=9)
    with pytest.raises(InvalidCommand):
        states.keep("k", "\udc00", b"")
    with pytest.raises(LimitExceeded, match="of a store"):
        states.keep("k", "a", b"x" * 10)
    assert states.waiting == {}
