"""What is remembered of messages with an idempotency key. How it is used stands in test_broker.py."""

import pytest

from extra.errors import InvalidCommand
from extra.pubsub import Receipt
from extra.pubsub.idempotency import Remembered, Run, digest
from tests.unit.pubsub.material import a_message


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
