"""What is remembered of messages with an idempotency key. How it is used stands in test_publishing.py."""

import pytest

from extra.errors import InvalidCommand
from extra.pubsub import Receipt
from extra.pubsub.idempotency import Keys, Remembered, Run, digest
from tests.fakes.clock import FakeClock
from tests.unit.pubsub.material import a_message, placed


def test_a_digest_tells_topics_and_keys_apart_and_is_short() -> None:
    names = {digest(topic, key) for topic in ("a", "ab") for key in ("b", "bb", "é", "\ud800")}
    assert len(names) == 8
    assert {len(name) for name in names} == {16}
    assert digest("a", "b") == digest("a", "b")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_1_to_255_bytes(key: str) -> None:
    with pytest.raises(InvalidCommand):
        digest("a", key)


def test_a_receipt_is_remembered_without_its_topic() -> None:
    assert Remembered(0.0, 7, "e1-7", 3).receipt("a") == Receipt("a", 7, "e1-7", 3)


def test_a_run_can_be_used_again() -> None:
    run = Run()
    run.add(4, a_message("a"), b"k")
    assert (run.indices, run.names, run.subscribers, len(run.messages)) == ([4], [b"k"], [0], 1)
    run.clear()
    assert (run.indices, run.names, run.subscribers, run.messages) == ([], [], [], [])


def test_a_key_counts_for_its_window() -> None:
    clock = FakeClock()
    keys = Keys(clock, 10, 2.0)
    keys.restore([(b"old", 3, clock.now() - 1.0)], "e1")
    keys.remember(b"new", placed(7), 1)
    remembered = keys.recall(b"old")
    assert remembered is not None
    assert remembered.receipt("a") == Receipt("a", 3, "e1-3", 0)
    clock.advance(1.0)
    assert keys.recall(b"old") is None
    assert keys.recall(b"new") is not None
    keys.forget()
    assert list(keys.receipts) == [b"new"]


def test_keys_are_bounded_and_the_oldest_goes() -> None:
    keys = Keys(FakeClock(), 2, 10.0)
    for name in (b"a", b"b", b"a", b"c"):
        keys.remember(name, placed(1), 0)
    assert list(keys.receipts) == [b"a", b"c"]
    assert len(keys) == 2


async def test_only_a_message_that_has_its_place_is_remembered() -> None:
    keys = Keys(FakeClock(), 10, 10.0)
    for name, message in ((b"a", placed(1)), (b"b", a_message("b"))):
        keys.begin(name)
        waiting = keys.underway[name]
        keys.settle(message, name, 1)
        assert waiting.is_set()
    assert keys.underway == {}
    assert list(keys.receipts) == [b"a"]
