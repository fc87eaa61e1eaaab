"""What the commands are. How they are read stands in test_decoding.py."""

import pytest

from extra.protocols.commands import Ack, Nack, Subscribe, Unsubscribe


def test_filters_are_a_list_even_if_there_is_one() -> None:
    assert Subscribe("a").filters == Unsubscribe("a").filters == ["a"]
    assert Subscribe(["a", "b"]).filters == Unsubscribe(["a", "b"]).filters == ["a", "b"]
    assert Unsubscribe(group="g").filters == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Ack(7), [7]),
        (Ack(group="g", offsets=[7, 8]), [7, 8]),
        (Ack(group="g"), []),
        (Nack("g", 7), [7]),
        (Nack("g", offsets=[8]), [8]),
    ],
)
def test_offsets_are_a_list_even_if_there_is_one(command: Ack | Nack, expected: list[int]) -> None:
    assert command.settled == expected
