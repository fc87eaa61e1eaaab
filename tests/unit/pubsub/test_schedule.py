"""The messages that wait: their order, their bounds, and their form as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extra.errors import InvalidCommand, LimitExceeded
from extra.pubsub import Message, Scheduled
from extra.pubsub.schedule import Entry, Schedule, check_deliver_at
from tests.unit.pubsub.material import a_message

SIZE = a_message("a").size


def a_schedule(*times: float) -> Schedule:
    """Return a schedule with a message at each time; its id is its number, from 1."""
    schedule = Schedule(100, 1 << 20)
    for deliver_at in times:
        message = a_message("a")
        number = schedule.enter(message)
        schedule.put(Entry(str(number), message, deliver_at, b"n%d" % number, number))
    return schedule


def ids(entries: list[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def test_what_is_due_comes_by_time_and_then_as_it_was_accepted() -> None:
    schedule = a_schedule(5.0, 3.0, 5.0, 1.0, 9.0)
    assert not schedule.has_due(0.9)
    assert schedule.has_due(1.0)
    assert ids(schedule.take_due(5.0, 2)) == ["4", "2"]
    assert ids(schedule.take_due(5.0, 10)) == ["1", "3"]
    assert schedule.take_due(5.0, 10) == []
    assert (len(schedule), list(schedule.by_name)) == (5, [b"n5"]), "the room is theirs until they leave"


def test_it_is_bounded_in_number_and_in_bytes() -> None:
    schedule = Schedule(2, 10 * SIZE)
    messages = [a_message("a"), a_message("a")]
    for message in messages:
        schedule.enter(message)
    with pytest.raises(LimitExceeded, match=r"\(broker.scheduled_limit_messages\)"):
        schedule.enter(a_message("a"))
    schedule.leave(messages[0])
    with pytest.raises(LimitExceeded, match=r"\(broker.scheduled_limit_bytes\)"):
        schedule.enter(a_message("a", b"x" * 9 * SIZE))
    schedule.enter(a_message("a"))
    assert (len(schedule), schedule.size) == (2, 2 * SIZE)


def test_what_was_left_is_taken_in_whatever_the_limits_are_by_now() -> None:
    schedule = Schedule(0, 0)
    schedule.restore(Entry("x", a_message("a"), 1.0, b"", 7))
    assert (len(schedule), schedule.number) == (1, 7)
    with pytest.raises(LimitExceeded):
        schedule.enter(a_message("a"))


def test_one_can_be_taken_out_by_its_id() -> None:
    schedule = a_schedule(1.0, 1.0, 1.0)
    entry = schedule.take("2")
    assert entry is not None
    assert schedule.take("2") is None
    assert ids(schedule.take_due(1.0, 10)) == ["1", "3"]


def test_pages_go_on_where_the_last_one_ended_whatever_has_gone_meanwhile() -> None:
    schedule = a_schedule(1.0, 2.0, 2.0, 2.0, 0.1 + 0.2)
    first = schedule.page("", 3)
    assert [each.id for each in first.messages] == ["5", "1", "2"]
    assert first.messages[1] == Scheduled("1", "a", 1.0, 0, False)
    schedule.take("2")
    second = schedule.page(first.after, 3)
    assert ([each.id for each in second.messages], second.after) == (["3", "4"], "")
    assert schedule.page(schedule.page("", 1).after, 1).messages[0].id == "1"


@pytest.mark.parametrize("after", ["x", "1.0", "_", "1_", "nan_x", "0x1p2000_1"])
def test_what_is_no_end_of_a_page_is_refused(after: str) -> None:
    with pytest.raises(InvalidCommand, match="where a page of what is scheduled ended"):
        a_schedule(1.0).page(after, 1)


@given(
    payload=st.binary(max_size=20),
    kind=st.sampled_from(["json", "text", "binary"]),
    content_type=st.none() | st.text(max_size=10),
    headers=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    expires_at=st.just(0.0) | st.floats(0, 1e11),
    retained=st.booleans(),
    deliver_at=st.floats(0, 1e11),
    name=st.binary(max_size=16),
)
def test_an_entry_comes_back_as_it_was(
    payload: bytes,
    kind: str,
    content_type: str | None,
    headers: dict[str, str] | None,
    expires_at: float,
    retained: bool,
    deliver_at: float,
    name: bytes,
) -> None:
    message = Message(
        "a/ü",
        payload,
        kind,  # type: ignore[arg-type]  # one of the three
        content_type=content_type,
        headers=headers,
        expires_at=expires_at,
        retained=retained,
    )
    again = Entry.decode("x", Entry("x", message, deliver_at, name, 7).encode())
    assert (again.id, again.deliver_at, again.name, again.number) == ("x", deliver_at, name, 7)
    found = again.message
    assert (found.topic, found.payload, found.kind, found.content_type) == (
        "a/ü",
        payload,
        kind,
        content_type,
    )
    assert (found.headers, found.expires_at, found.retained) == (headers, expires_at, retained)


@pytest.mark.parametrize("value", [b"", b"\n", b"{}\n", b"[]\n", b"\xff\n"])
def test_what_makes_no_sense_says_so(value: bytes) -> None:
    with pytest.raises(ValueError, match="scheduled message 'x' makes no sense"):
        Entry.decode("x", value)


def test_a_time_is_from_the_beginning_of_time_to_far_away() -> None:
    check_deliver_at(0)
    check_deliver_at(1e11)
    for wrong in (-1, 1.1e11, float("nan"), float("inf")):
        with pytest.raises(InvalidCommand, match="deliver_at"):
            check_deliver_at(wrong)
