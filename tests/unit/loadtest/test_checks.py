"""The checks of the load find what was lost, doubled and reordered, and name the first case."""

from collections.abc import Callable

import pytest

from loadtest.generator.checks import Mismatch, Sequence, Transcript
from loadtest.generator.payloads import message_of

PING = b"\x89\x00"


def frames(*numbers: int, size: int = 128) -> bytes:
    """Return messages as a broker frames them."""
    return b"".join([b"\x81\x7e\x00\x80" + message_of(number, 5.0, size) for number in numbers])


def none_expected() -> None:
    raise AssertionError("there was no ping")


class Group:
    """Subscribers that share a transcript."""

    def __init__(self, first: int = 0) -> None:
        self.transcript = Transcript(first)
        self.positions: dict[str, int] = {}

    def get(self, who: str, data: bytes, pong: Callable[[], object] = none_expected) -> None:
        position = self.positions.get(who, 0)
        self.positions[who] = self.transcript.follow(position, memoryview(data), who, pong)


@pytest.fixture
def group() -> Group:
    return Group()


class TestTranscript:
    def test_knows_where_each_message_ends_and_when_it_was_due(self, group: Group) -> None:
        group.get("a", frames(0, 1))
        assert group.transcript.ends == [132, 264]
        assert group.transcript.due == [5.0, 5.0]

    def test_whoever_is_ahead_writes_it(self, group: Group) -> None:
        group.get("a", frames(0))
        group.get("b", frames(0, 1))
        group.get("a", frames(1, 2))
        group.get("b", frames(2))
        assert len(group.transcript.ends) == 3
        assert group.positions == {"a": 396, "b": 396}

    @pytest.mark.parametrize("size", [1, 3, 50, 131, 133, 1000])
    def test_may_come_in_any_pieces(self, group: Group, size: int) -> None:
        data = frames(*range(10))
        for start in range(0, len(data), size):
            group.get("a", data[start : start + size])
        group.get("b", data)
        assert len(group.transcript.ends) == 10
        assert group.positions == {"a": len(data), "b": len(data)}

    def test_begins_with_the_number_that_it_is_told(self) -> None:
        group = Group(first=7)
        group.get("a", frames(7, 8))
        with pytest.raises(Mismatch, match="a got message 10 where 9 should come: lost or reordered"):
            group.get("a", frames(10))

    @pytest.mark.parametrize(
        ("numbers", "case"),
        [
            ((0, 2), "message 2 where 1 should come: lost"),
            ((0, 1, 1), "message 1 where 2 should come: doubled"),
            ((0, 2, 1), "message 2 where 1 should come: lost or reordered"),
            ((1,), "message 1 where 0 should come: lost"),
        ],
    )
    def test_refuses_what_the_first_one_gets_wrong(
        self, group: Group, numbers: tuple[int, ...], case: str
    ) -> None:
        with pytest.raises(Mismatch, match=f"^a got {case}"):
            group.get("a", frames(*numbers))

    @pytest.mark.parametrize(
        ("numbers", "case"),
        [
            ((0, 2, 3), "message 2 where 1 should come: lost"),
            ((0, 1, 1), "message 1 where 2 should come: doubled"),
            ((0, 2, 1, 3), "message 2 where 1 should come: lost or reordered"),
        ],
    )
    @pytest.mark.parametrize("size", [60, 132, 1000])
    def test_refuses_what_another_one_gets_wrong(
        self, group: Group, numbers: tuple[int, ...], case: str, size: int
    ) -> None:
        group.get("a", frames(0, 1, 2, 3))
        data = frames(*numbers)
        with pytest.raises(Mismatch, match=f"^b got {case}"):  # noqa: PT012 - whichever piece shows it
            for start in range(0, len(data), size):
                group.get("b", data[start : start + size])

    def test_a_doubled_message_does_not_make_up_for_a_lost_one(self, group: Group) -> None:
        """Counting would not notice."""
        group.get("a", frames(0, 1, 2))
        with pytest.raises(Mismatch):
            group.get("b", frames(0, 0, 2))

    def test_refuses_bytes_that_are_no_message(self, group: Group) -> None:
        group.get("a", frames(0, 1))
        with pytest.raises(Mismatch, match=r"b got b'\\x88\\x02\\x03\\xe8' where others got"):
            group.get("b", frames(0) + b"\x88\x02\x03\xe8")

    @pytest.mark.parametrize("leader", [True, False])
    def test_a_ping_is_answered_and_no_part_of_it(self, group: Group, leader: bool) -> None:
        pongs: list[str] = []
        if not leader:
            group.get("b", frames(0, 1))
        group.get("a", frames(0) + PING + frames(1), lambda: pongs.append("a"))
        group.get("c", PING, lambda: pongs.append("c"))
        group.get("c", frames(0, 1) + PING, lambda: pongs.append("c"))
        assert pongs == ["a", "c", "c"]
        assert group.positions["a"] == group.positions["c"] == len(frames(0, 1)) == len(group.transcript.log)


class TestSequence:
    def test_takes_what_is_expected_in_any_pieces(self) -> None:
        sequence = Sequence([3, 8, 9])
        data = frames(3, 8, 9)
        for start in range(0, len(data), 50):
            sequence.take(memoryview(data[start : start + 50]), "a", none_expected)
        assert sequence.count == 3
        assert sequence.due == [5.0, 5.0, 5.0]

    @pytest.mark.parametrize(
        ("numbers", "case"),
        [
            ((8,), "message 8 where 3 should come: lost"),
            ((3, 3), "message 3 where 8 should come: doubled"),
            ((3, 4), "message 4 where 8 should come: doubled or reordered"),
            ((3, 8, 9, 9), "message 9, which is one too many"),
        ],
    )
    def test_refuses_anything_else(self, numbers: tuple[int, ...], case: str) -> None:
        with pytest.raises(Mismatch, match=f"^a got {case}"):
            Sequence([3, 8, 9]).take(memoryview(frames(*numbers)), "a", none_expected)

    def test_answers_a_ping(self) -> None:
        pongs: list[str] = []
        sequence = Sequence([0, 1])
        sequence.take(memoryview(frames(0) + PING + frames(1)), "a", lambda: pongs.append("a"))
        assert sequence.count == 2
        assert pongs == ["a"]


@pytest.mark.parametrize("size", [64, 128, 1024])
def test_a_message_has_exactly_the_size_asked_for(size: int) -> None:
    assert len(message_of(0, 123456.789, size)) == size
    assert len(message_of(999_999, 0.0, size)) == size
