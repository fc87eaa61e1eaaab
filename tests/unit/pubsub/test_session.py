import asyncio

import pytest

from extra.errors import ChannelClosed
from extra.pubsub import Gap, Message, Replay, Session
from extra.pubsub.outbox import DISCONNECT, DROP_OLDEST, LATEST
from extra.pubsub.session import CLOSED, HELD
from tests.unit.pubsub.material import Listener, placed, settle

SIZE = placed(1).size


def a_session(*, room_for: int = 4, overflow: int = DISCONNECT) -> tuple[Session, Listener]:
    listener = Listener()
    return Session("e1-s1", listener, None, room_for * SIZE, overflow), listener


def receive(session: Session, *offsets: int) -> list[bool]:
    return [session.receive(placed(offset)) for offset in offsets]


def take_all(session: Session) -> list[int]:
    taken = []
    while (entry := session.outbox.take()) is not None:
        assert isinstance(entry, Message)
        taken.append(entry.offset)
    return taken


def replaying(session: Session, after: int, until: int, retained: list[Message] | None = None) -> Replay:
    session.hold(until)
    session.replay = Replay(["a"], after, until, 0, None, retained or [])
    return session.replay


# Live


def test_a_live_session_puts_what_is_delivered() -> None:
    session, _ = a_session()
    assert session.is_live()
    assert receive(session, 1, 2) == [True, True]
    assert session.last_offset == 2
    assert take_all(session) == [1, 2]


def test_the_consumer_is_woken_once_until_it_sleeps() -> None:
    """`Consumer.wake`: not called again before `Session.sleep`."""
    session, listener = a_session()
    receive(session, 1, 2)
    session.put(placed(3))
    session.put_gap(Gap(3, 4, "evicted"))
    assert listener.wakes == 1
    session.sleep()
    receive(session, 5)
    assert listener.wakes == 2


def test_whatever_is_put_wakes_the_consumer() -> None:
    session, listener = a_session()
    session.put(placed(1))
    assert listener.wakes == 1
    session.sleep()
    session.put_gap(Gap(1, 2, "evicted"))
    assert listener.wakes == 2
    session.sleep()
    session.put_control(b"pong")
    assert listener.wakes == 3


def test_what_was_read_ahead_of_its_delivery_is_not_put_again() -> None:
    """The log of several nodes can be ahead of what its engine has delivered here."""
    session, _ = a_session()
    session.hold(3)
    session.merge()
    assert receive(session, 3, 4) == [True, True]
    assert take_all(session) == [4]


# Overflow


def test_a_session_that_overflows_is_held_beginning_with_the_message_that_did_not_fit() -> None:
    session, _ = a_session(room_for=2)
    assert receive(session, 1, 2, 3) == [True, True, False]
    assert session.state == HELD
    assert (session.position, session.pending_from) == (2, 2)
    assert take_all(session) == [1, 2]
    session.merge()
    assert take_all(session) == [3]


def test_a_session_that_drops_is_never_held_for_it() -> None:
    session, _ = a_session(room_for=2, overflow=DROP_OLDEST)
    assert receive(session, 1, 2, 3) == [True, True, True]
    assert session.is_live()
    assert session.outbox.dropped == 1


# Held


def test_a_held_session_holds_back_what_is_delivered() -> None:
    session, listener = a_session()
    session.hold(5)
    assert receive(session, 6, 7) == [True, True]
    assert session.last_offset == 7
    assert (len(session.outbox), listener.wakes) == (0, 0)
    session.merge()
    assert session.is_live()
    assert listener.wakes == 1
    assert take_all(session) == [6, 7]


def test_what_has_been_read_meanwhile_is_not_put_twice() -> None:
    session, _ = a_session(room_for=8)
    session.hold(5)
    receive(session, 6, 7, 8)
    session.position = 7
    session.merge()
    assert take_all(session) == [8]


def test_what_is_held_back_is_bounded_and_thrown_away_beyond() -> None:
    """Half of the outbox; the log has it all."""
    session, _ = a_session(room_for=4)
    session.hold(5)
    receive(session, 6, 7)
    assert session.pending_from == 5
    receive(session, 8)
    assert session.pending_from == 8
    receive(session, 9)
    session.position = 8
    session.merge()
    assert take_all(session) == [9]


def test_one_message_is_held_back_however_large() -> None:
    session, _ = a_session(room_for=1)
    session.hold(5)
    receive(session, 6)
    assert session.pending_from == 5
    receive(session, 7)
    assert session.pending_from == 7


def test_holding_begins_anew_each_time() -> None:
    session, _ = a_session()
    session.hold(5)
    receive(session, 6)
    session.known = 3
    session.hold(8)
    assert (session.position, session.pending_from, session.pending, session.known) == (8, 8, None, 0)


# Where to resume


def test_a_live_session_has_reached_what_was_delivered() -> None:
    session, _ = a_session()
    assert session.reached(17) == 17
    session.hold(20)
    session.merge()
    assert session.reached(17) == 20


def test_a_held_session_has_reached_its_position() -> None:
    session, _ = a_session()
    session.hold(5)
    assert session.reached(17) == 5


def test_a_replay_holds_back_what_is_reached_until_it_is_over() -> None:
    session, _ = a_session()
    replay = replaying(session, after=3, until=8)
    assert session.reached(17) == 3
    replay.after = 8
    session.position = 12
    assert session.reached(17) == 12


def test_retained_messages_that_are_still_to_come_count() -> None:
    session, _ = a_session()
    replay = replaying(session, after=8, until=8, retained=[placed(2), placed(6)])
    assert session.reached(17) == 1
    replay.retained = []
    assert session.reached(17) == 8


def test_resuming_begins_before_what_still_waits() -> None:
    session, _ = a_session()
    receive(session, 3, 6)
    assert session.resume_offset(9) == 2
    session.outbox.take()
    assert session.resume_offset(9) == 5
    session.outbox.take()
    assert session.resume_offset(9) == 9


def test_resuming_a_held_session_begins_where_it_stands() -> None:
    session, _ = a_session()
    receive(session, 3)
    session.hold(5)
    assert session.resume_offset(9) == 2
    session.outbox.take()
    assert session.resume_offset(9) == 5


def test_resuming_tells_a_gap_again_that_still_waits() -> None:
    """docs/architecture.md: a loss that was not told is told again on resuming."""
    session, _ = a_session()
    session.hold(2)
    session.put_gap(Gap(2, 6, "evicted"))
    session.position = 9
    assert session.resume_offset(9) == 2
    session.outbox.take()
    assert session.resume_offset(9) == 9


def test_there_is_no_offset_to_resume_from_while_a_new_epoch_is_untold() -> None:
    session, _ = a_session()
    session.put_gap(Gap(None, 0, "epoch"))
    assert session.resume_offset(9) == -1


# Room


def test_there_is_room_while_less_than_half_is_taken() -> None:
    session, _ = a_session(room_for=4)
    receive(session, 1)
    assert session.has_room()
    receive(session, 2)
    assert not session.has_room()


def test_control_frames_take_room() -> None:
    session, _ = a_session(room_for=4)
    session.put_control(b"." * 2 * SIZE)
    assert not session.has_room()


async def test_waiting_for_room_ends_when_enough_was_taken() -> None:
    session, _ = a_session(room_for=4)
    receive(session, 1, 2, 3)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(session.wait_for_room())
        await settle()
        session.outbox.take()
        session.made_room()
        await settle()
        assert not waiting.done()
        session.outbox.take()
        session.made_room()


async def test_where_there_is_room_nobody_waits() -> None:
    session, _ = a_session()
    session.made_room()
    waiting = session.wait_for_room()
    with pytest.raises(StopIteration):
        waiting.send(None)


async def test_closing_ends_the_wait_for_room() -> None:
    session, _ = a_session(room_for=2)
    receive(session, 1, 2)
    waiting = asyncio.get_running_loop().create_task(session.wait_for_room())
    await settle()
    session.close()
    with pytest.raises(ChannelClosed):
        await waiting
    with pytest.raises(ChannelClosed):
        await session.wait_for_room()


async def test_a_wait_for_room_that_was_cancelled_can_be_made_again() -> None:
    session, _ = a_session(room_for=2)
    receive(session, 1, 2)
    waiting = asyncio.get_running_loop().create_task(session.wait_for_room())
    await settle()
    waiting.cancel()
    await asyncio.wait([waiting])
    session.outbox.clear()
    session.made_room()
    await session.wait_for_room()


async def test_room_made_in_the_turn_of_a_cancellation_is_no_error() -> None:
    session, _ = a_session(room_for=2)
    receive(session, 1, 2)
    waiting = asyncio.get_running_loop().create_task(session.wait_for_room())
    await settle()
    waiting.cancel()
    session.outbox.clear()
    session.made_room()
    session.made_room()
    session.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


# Closing


def test_a_closed_session_keeps_nothing_and_takes_nothing() -> None:
    session, listener = a_session()
    receive(session, 1)
    session.hold(1)
    receive(session, 2)
    session.close()
    assert session.state == CLOSED
    assert (len(session.outbox), session.pending, session.replay) == (0, None, None)
    session.sleep()
    assert receive(session, 3) == [True]
    assert len(session.outbox) == 0
    assert listener.wakes == 1


# Replay


def test_a_replay_covers_what_an_earlier_filter_has_brought() -> None:
    """docs/protocol.md, commands: `replay` is `missing` by default."""
    replay = Replay(["#"], 0, 9, 0, {"a/+": 4, "b": 0}, [])
    assert not replay.is_covered(placed(4, "a/x"))
    assert replay.is_covered(placed(5, "a/x"))
    assert replay.is_covered(placed(1, "b"))
    assert not replay.is_covered(placed(5, "c"))


def test_a_replay_of_everything_covers_nothing() -> None:
    assert not Replay(["#"], 0, 9, 0, None, []).is_covered(placed(5))


def test_a_replay_remembers_which_retained_messages_the_log_may_bring() -> None:
    replay = Replay(["#"], 4, 9, 0, None, [placed(3), placed(5), placed(8)])
    assert [offset for offset in range(5, 10) if replay.is_given(placed(offset))] == [5, 8]


def test_retained_messages_are_put_one_after_the_other() -> None:
    replay = Replay(["#"], 4, 9, 0, None, [placed(3), placed(5)])
    seen = []
    while (message := replay.next_retained()) is not None:
        seen.append(message.offset)
        replay.put += 1
    assert seen == [3, 5]


def test_steps_are_shorter_where_each_message_is_held_against_other_filters() -> None:
    few = Replay(["#"], 4, 9, 0, {"a": 2}, []).page_limit()
    assert few < Replay(["#"], 4, 9, 0, None, []).page_limit()


def test_a_session_that_would_overflow_is_relieved_before() -> None:
    """Whoever reads, but has not been written to in this turn, loses nothing."""

    class Reader(Listener):
        def relieve(self) -> None:
            take_all(session)

    for overflow in (DISCONNECT, DROP_OLDEST, LATEST):
        reader = Reader()
        session = Session("s1", reader, None, 2 * placed(1).size, overflow)
        for offset in range(1, 20):
            assert session.receive(placed(offset))
        assert (reader.overflows, session.outbox.dropped) == (0, 0)
