"""Whether there is room for one more message to be retained, beside those on their way."""

import asyncio

import pytest

from broker.engines.queued import Queued, Ticket
from broker.engines.retaining import Retaining
from extra.errors import LimitExceeded
from extra.pubsub import RetainedMessages
from tests.unit.pubsub.material import a_message, settle


def queued(topic: str) -> Queued:
    return Queued(a_message(topic, retained=True), 1, 0.0, 0.0, b"", True, True, Ticket(1), 0)


def test_with_none_on_their_way_it_is_told_at_once() -> None:
    kept = RetainedMessages(limit_messages=1)
    retaining = Retaining()
    assert retaining.has_room(kept, a_message("a", retained=True))
    kept.put(a_message("a", retained=True))
    assert retaining.has_room(kept, a_message("a", retained=True))
    with pytest.raises(LimitExceeded):
        retaining.has_room(kept, a_message("b", retained=True))


async def test_near_the_limit_one_waits_for_those_on_their_way() -> None:
    kept = RetainedMessages(limit_messages=2)
    retaining = Retaining()
    first, second = queued("a"), queued("a")
    retaining.add(first)
    assert retaining.has_room(kept, a_message("b", retained=True))
    retaining.add(second)
    assert not retaining.has_room(kept, a_message("b", retained=True))
    assert retaining.newest == {"a": second}
    waiting = asyncio.ensure_future(retaining.none_left())
    await settle()
    retaining.discard(first)
    await settle()
    assert (waiting.done(), retaining.newest) == (False, {"a": second})
    retaining.discard(second)
    await waiting
    assert (retaining.newest, retaining.messages, retaining.bytes) == ({}, 0, 0)
