"""The books of the locust scenarios find what was lost, doubled and reordered, over many connections."""

import pytest

from loadtest.tracking import Ledger, Reader

ROOM = "load/1"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def reader(ledger: Ledger) -> Reader:
    return Reader("SSE 1", ledger, [ROOM])


def publish(ledger: Ledger, count: int) -> None:
    """Publish so many to the room."""
    for _ in range(count):
        ledger.next_number(ROOM)
        ledger.confirm(ROOM)


def take(reader: Reader, *numbers: int) -> None:
    for number in numbers:
        reader.take(ROOM, number)


def test_nothing_is_wrong_with_all_messages_over_two_connections(ledger: Ledger, reader: Reader) -> None:
    publish(ledger, 2)
    reader.subscribed()
    publish(ledger, 3)
    take(reader, 2, 3)
    reader.subscribed()
    take(reader, 4)
    ledger.close()
    assert ledger.verdict() == "PASS: 5 published, 3 delivered, 1 resumed, nothing lost, doubled or reordered"


def test_a_message_on_its_way_while_subscribing_may_come_or_not(ledger: Ledger, reader: Reader) -> None:
    ledger.next_number(ROOM)
    reader.subscribed()
    ledger.confirm(ROOM)
    publish(ledger, 1)
    other = Reader("SSE 2", ledger, [ROOM])
    other.subscribed()
    take(reader, 1)
    ledger.close()
    assert not ledger.faults
    take(other, 0, 1)
    assert not ledger.faults


@pytest.mark.parametrize(
    ("numbers", "case"),
    [
        ((0, 2), "message 2 where 1 should come: lost or reordered"),
        ((0, 1, 1), "message 1 where 2 should come: doubled or reordered"),
        ((0, 2, 1), "message 2 where 1 should come: lost or reordered"),
        ((1, 2), "message 1 first, 0 or an earlier one is lost"),
    ],
)
def test_what_does_not_follow_is_a_fault(
    ledger: Ledger, reader: Reader, numbers: tuple[int, ...], case: str
) -> None:
    reader.subscribed()
    publish(ledger, 3)
    take(reader, *numbers)
    assert ledger.faults[0] == f"SSE 1, {ROOM}: {case}"
    assert ledger.verdict().startswith("FAIL: 3 published, ")
    assert ledger.verdict().endswith(ledger.faults[0])


def test_so_is_a_message_lost_while_away(ledger: Ledger, reader: Reader) -> None:
    reader.subscribed()
    publish(ledger, 3)
    take(reader, 0)
    reader.subscribed()
    take(reader, 2)
    assert ledger.faults == [f"SSE 1, {ROOM}: message 2 where 1 should come: lost or reordered"]


@pytest.mark.parametrize("numbers", [(), (0, 1)])
def test_so_is_the_last_message_that_does_not_come(
    ledger: Ledger, reader: Reader, numbers: tuple[int, ...]
) -> None:
    reader.subscribed()
    publish(ledger, 3)
    take(reader, *numbers)
    ledger.close()
    assert ledger.faults == [
        f"SSE 1 has the messages of {ROOM} up to {len(numbers)}, there are 3: lost",
    ]


def test_so_is_a_loss_that_the_broker_tells_of(ledger: Ledger, reader: Reader) -> None:
    reader.gap('{"op":"gap"}')
    assert ledger.faults == ['SSE 1 was told of a loss: {"op":"gap"}']


def test_so_is_a_reader_that_never_gets_in(ledger: Ledger, reader: Reader) -> None:
    ledger.close()
    assert ledger.faults == ["SSE 1 never was subscribed"]


def test_a_run_without_messages_has_not_passed(ledger: Ledger) -> None:
    assert ledger.verdict() == "FAIL: 0 published, 0 delivered, 0 resumed: nothing was tested"
