import pytest

from extra.pubsub import Gap, Message, Outbox
from extra.pubsub.outbox import DISCONNECT, DROP_OLDEST, LATEST
from tests.unit.pubsub.material import NameForm, placed, take_all

SIZE = placed(1).size
"""What a message on a topic of one character counts without a form."""


def an_outbox(overflow: int = DISCONNECT, *, room_for: int = 3) -> Outbox:
    return Outbox(None, room_for * SIZE, overflow)


def a_wire(overflow: int = DISCONNECT, *, limit_bytes: int = 15) -> Outbox:
    """Return an outbox with room for three frames like `<a 1>`."""
    return Outbox(NameForm(), limit_bytes, overflow)


def put(outbox: Outbox, *entries: str) -> list[bool]:
    """Put messages given as `a1`: topic and offset."""
    return [outbox.put(placed(int(each[1:]), each[0])) for each in entries]


# In process


def test_what_is_put_is_taken_in_order() -> None:
    outbox = an_outbox()
    assert put(outbox, "a1", "b2", "a3") == [True, True, True]
    assert (len(outbox), outbox.size) == (3, 3 * SIZE)
    assert take_all(outbox) == ["a1", "b2", "a3"]
    assert (len(outbox), outbox.size) == (0, 0)
    assert outbox.take() is None


def test_taken_is_the_highest_offset_that_was_taken() -> None:
    outbox = an_outbox()
    assert outbox.taken == 0
    put(outbox, "a5", "a3")
    outbox.take()
    outbox.take()
    assert outbox.taken == 5


def test_a_gap_goes_out_in_its_place() -> None:
    outbox = an_outbox()
    put(outbox, "a1")
    outbox.put_gap(Gap(1, 4, "evicted"))
    put(outbox, "a5")
    assert len(outbox) == 3
    assert take_all(outbox) == ["a1", "(1, 4]", "a5"]


def test_append_goes_beyond_the_bound() -> None:
    outbox = an_outbox(room_for=1)
    for offset in (1, 2, 3):
        outbox.append(placed(offset))
    assert outbox.size == 3 * SIZE
    assert take_all(outbox) == ["a1", "a2", "a3"]


def test_an_outbox_that_is_empty_takes_any_message() -> None:
    """So many bytes, or one message."""
    for overflow in (DISCONNECT, DROP_OLDEST, LATEST):
        outbox = Outbox(None, 1, overflow)
        assert put(outbox, "a1") == [True]
        assert take_all(outbox) == ["a1"]


def test_control_frames_have_no_place_without_a_form() -> None:
    outbox = an_outbox()
    outbox.put_control(b"pong")
    with pytest.raises(AssertionError, match="control frames need a form"):
        outbox.take()


def test_very_many_can_be_put_and_taken_in_turn() -> None:
    """What was taken does not stay in memory."""
    outbox = an_outbox(room_for=500)
    for offset in range(1, 201):
        put(outbox, f"a{offset}")
    for offset in range(201, 2001):
        put(outbox, f"a{offset}")
        entry = outbox.take()
        assert isinstance(entry, Message)
        assert entry.offset == offset - 200
    assert len(outbox) == 200
    assert len(outbox.entries) < 500


# On a wire


def test_frames_are_joined() -> None:
    outbox = a_wire()
    put(outbox, "a1", "b2", "a3")
    assert outbox.size == 15
    assert outbox.take_bytes(1000) == b"<a 1><b 2><a 3>"
    assert (len(outbox), outbox.size, outbox.taken) == (0, 0, 3)
    assert outbox.take_bytes(1000) == b""


def test_a_single_frame_is_the_same_bytes_for_all() -> None:
    """DESIGN section 5: encode once, and share."""
    form = NameForm()
    message = placed(7)
    outboxes = [Outbox(form, 100) for _ in range(2)]
    for outbox in outboxes:
        outbox.put(message)
    one, other = [outbox.take_bytes(1000) for outbox in outboxes]
    assert one is other is message.frame(form)
    assert [outbox.taken for outbox in outboxes] == [7, 7]


def test_a_chunk_ends_with_the_entry_that_fills_it() -> None:
    outbox = a_wire(limit_bytes=100)
    put(outbox, "a1", "a2", "a3")
    assert outbox.take_bytes(6) == b"<a 1><a 2>"
    assert outbox.size == 5
    assert outbox.take_bytes(1) == b"<a 3>"


def test_control_frames_and_gaps_go_out_in_their_place() -> None:
    outbox = a_wire()
    outbox.put_control(b"[welcome]")
    put(outbox, "a1")
    outbox.put_gap(Gap(1, 2, "evicted"))
    put(outbox, "a3")
    outbox.put_control(b"[pong]")
    assert (len(outbox), outbox.size, outbox.control_size) == (5, 10, 15)
    assert outbox.take_bytes(1000) == b"[welcome]<a 1><1-2><a 3>[pong]"
    assert (len(outbox), outbox.size, outbox.control_size) == (0, 0, 0)


def test_a_lone_control_frame_is_taken_as_it_is() -> None:
    outbox = a_wire()
    outbox.put_control(b"[pong]")
    assert outbox.take_bytes(1000) == b"[pong]"
    assert outbox.control_size == 0


def test_a_message_counts_as_its_frame() -> None:
    outbox = a_wire(limit_bytes=12)
    assert put(outbox, "a1", "a2", "a3") == [True, True, False]


def test_only_an_outbox_with_a_form_has_bytes() -> None:
    with pytest.raises(AssertionError, match="without a form has no bytes"):
        an_outbox().take_bytes(1)


# Overflow: disconnect


def test_disconnect_refuses_what_does_not_fit_and_changes_nothing() -> None:
    outbox = an_outbox()
    assert put(outbox, "a1", "a2", "a3", "a4") == [True, True, True, False]
    assert (len(outbox), outbox.size, outbox.dropped) == (3, 3 * SIZE, 0)
    assert take_all(outbox) == ["a1", "a2", "a3"]


def test_a_message_larger_than_the_bound_waits_for_an_empty_outbox() -> None:
    outbox = a_wire()
    huge = placed(2, "a", b"." * 1000)
    put(outbox, "a1")
    assert not outbox.put(huge)
    outbox.take_bytes(1000)
    assert outbox.put(huge)
    assert put(outbox, "a3") == [False]


# Overflow: drop-oldest


def test_drop_oldest_drops_from_the_front_and_tells_before_what_follows() -> None:
    """docs/protocol.md, loss: the oldest in the outbox go; a gap tells it."""
    outbox = an_outbox(DROP_OLDEST)
    assert put(outbox, "a1", "a2", "a3", "a4", "a5") == [True] * 5
    assert (len(outbox), outbox.size, outbox.dropped) == (4, 3 * SIZE, 2)
    assert outbox.take() == Gap(0, 2, "overflow", 2)
    assert take_all(outbox) == ["a3", "a4", "a5"]


def test_what_is_dropped_after_a_gap_was_taken_makes_another() -> None:
    outbox = an_outbox(DROP_OLDEST)
    put(outbox, "a1", "a2", "a3", "a4")
    assert outbox.take() == Gap(0, 1, "overflow", 1)
    put(outbox, "a5", "a6")
    assert outbox.take() == Gap(1, 3, "overflow", 2)
    assert take_all(outbox) == ["a4", "a5", "a6"]
    assert outbox.dropped == 3


def test_a_huge_message_drives_all_others_out() -> None:
    outbox = a_wire(DROP_OLDEST)
    put(outbox, "a1", "a2", "a3")
    outbox.put(placed(4, "a", b"." * 1000))
    assert (len(outbox), outbox.dropped) == (2, 3)
    put(outbox, "a5")
    assert outbox.take_bytes(1000) == b"<0-4><a 5>"


def test_drop_oldest_steps_over_control_frames_and_gaps() -> None:
    outbox = a_wire(DROP_OLDEST)
    outbox.put_control(b"[welcome]")
    put(outbox, "a1")
    outbox.put_gap(Gap(1, 2, "evicted"))
    put(outbox, "a3", "a4", "a5", "a6")
    assert outbox.take_bytes(1000) == b"<0-3>[welcome]<1-2><a 4><a 5><a 6>"
    assert (outbox.size, outbox.control_size) == (0, 0)


# Overflow: latest


def test_latest_keeps_the_newest_of_each_topic() -> None:
    """docs/protocol.md, loss: only the newest message of each topic stays; a gap tells it."""
    outbox = an_outbox(LATEST)
    put(outbox, "a1", "b2", "a3", "b4")
    assert (len(outbox), outbox.size, outbox.dropped) == (3, 2 * SIZE, 2)
    assert outbox.take() == Gap(0, 2, "overflow", 2)
    assert take_all(outbox) == ["a3", "b4"]


def test_before_it_overflows_latest_keeps_everything() -> None:
    outbox = an_outbox(LATEST)
    put(outbox, "a1", "a2", "a3")
    assert take_all(outbox) == ["a1", "a2", "a3"]


def test_latest_goes_on_until_the_outbox_is_empty() -> None:
    outbox = an_outbox(LATEST)
    put(outbox, "a1", "b2", "c3", "a4")
    outbox.take()
    assert take_all(outbox) == ["b2", "c3", "a4"]
    put(outbox, "a5", "a6")
    assert take_all(outbox) == ["a5", "a6"]
    put(outbox, "a7", "b8", "c9", "a10")
    put(outbox, "b11", "b12")
    assert outbox.take() == Gap(6, 11, "overflow", 3)
    assert take_all(outbox) == ["c9", "a10", "b12"]


def test_latest_drops_the_oldest_when_the_topics_are_too_many() -> None:
    outbox = an_outbox(LATEST)
    put(outbox, "a1", "b2", "c3", "d4", "e5")
    assert outbox.take() == Gap(0, 2, "overflow", 2)
    assert take_all(outbox) == ["c3", "d4", "e5"]


def test_a_message_takes_the_place_of_a_larger_one_of_its_topic() -> None:
    outbox = a_wire(LATEST, limit_bytes=60)
    outbox.put(placed(1, "a", b"." * 50))
    put(outbox, "b2", "a3")
    assert outbox.take_bytes(1000) == b"<0-1><b 2><a 3>"


def test_latest_drops_no_control_frame_even_when_they_are_the_same_bytes() -> None:
    """Control frames are never dropped: an endpoint may well answer with one constant."""
    pong = b"[pong]"
    outbox = a_wire(LATEST)
    outbox.put_control(pong)
    put(outbox, "a1", "a2", "a3")
    outbox.put_control(pong)
    put(outbox, "a4")
    outbox.put_control(pong)
    outbox.put_control(pong)
    assert outbox.control_size == 4 * len(pong)
    assert outbox.take_bytes(1000) == b"<0-3>[pong][pong]<a 4>[pong][pong]"
    assert (len(outbox), outbox.size, outbox.control_size) == (0, 0, 0)


def test_latest_keeps_gaps_in_their_place() -> None:
    outbox = an_outbox(LATEST)
    put(outbox, "a1")
    outbox.put_gap(Gap(1, 2, "evicted"))
    put(outbox, "b3", "a4", "c5")
    outbox.put_gap(Gap(5, 6, "evicted"))
    assert take_all(outbox) == ["(0, 1]", "(1, 2]", "b3", "a4", "c5", "(5, 6]"]


def test_latest_with_control_frames_alone_left_takes_any_message() -> None:
    outbox = a_wire(LATEST)
    put(outbox, "a1", "b2", "c3")
    outbox.put_control(b"[pong]")
    outbox.put(placed(4, "d", b"." * 1000))
    assert len(outbox) == 3
    assert outbox.take_bytes(1000).startswith(b"<0-3>[pong]<d 4.")


def test_append_replaces_as_well_while_latest_keeps_the_newest() -> None:
    outbox = an_outbox(LATEST)
    put(outbox, "a1", "b2", "c3", "a4")
    outbox.append(placed(5, "b"))
    assert outbox.take() == Gap(0, 2, "overflow", 2)
    assert take_all(outbox) == ["c3", "a4", "b5"]


def test_an_older_message_never_takes_the_place_of_a_newer_one() -> None:
    """A replay brings what is older than what waits."""
    outbox = an_outbox(LATEST)
    put(outbox, "a11", "b12", "c13", "a14")
    for offset in (3, 4):
        outbox.append(placed(offset, "b"))
    outbox.append(placed(5, "d"))
    assert outbox.take() == Gap(2, 11, "overflow", 3)
    assert take_all(outbox) == ["b12", "c13", "a14", "d5"]
    assert outbox.size == 0


def test_of_what_a_replay_has_put_the_newest_stays() -> None:
    outbox = an_outbox(LATEST, room_for=4)
    put(outbox, "a11", "b12")
    outbox.append(placed(3, "a"))
    outbox.append(placed(4, "b"))
    put(outbox, "c15")
    assert outbox.take() == Gap(2, 4, "overflow", 2)
    assert take_all(outbox) == ["a11", "b12", "c15"]


# The lowest offset that waits


def test_nothing_that_waits_has_no_lowest_offset() -> None:
    outbox = a_wire()
    assert outbox.lowest() == 0
    outbox.put_control(b"[pong]")
    assert outbox.lowest() == 0


def test_the_lowest_offset_is_that_of_any_message_that_waits() -> None:
    outbox = an_outbox(room_for=100)
    put(outbox, "a7", "a3", "a8")
    assert outbox.lowest() == 3
    outbox.take()
    outbox.take()
    assert outbox.lowest() == 8


def test_a_gap_that_waits_counts_from_where_it_begins() -> None:
    """docs/architecture.md: a loss that was not told is told again on resuming."""
    outbox = an_outbox()
    outbox.put_gap(Gap(2, 6, "evicted"))
    put(outbox, "a7")
    assert outbox.lowest() == 3
    outbox.take()
    assert outbox.lowest() == 7


@pytest.mark.parametrize("overflow", [DROP_OLDEST, LATEST])
def test_what_was_dropped_and_not_told_counts(overflow: int) -> None:
    outbox = an_outbox(overflow)
    put(outbox, "a1", "b2", "c3", "a4")
    assert outbox.lowest() == 1
    outbox.take()
    assert outbox.lowest() == 2


def test_a_new_epoch_that_was_not_told_has_no_offset() -> None:
    outbox = an_outbox()
    outbox.put_gap(Gap(None, 0, "epoch"))
    put(outbox, "a1")
    assert outbox.lowest() == -1
    outbox.take()
    assert outbox.lowest() == 1


# Clearing


@pytest.mark.parametrize("overflow", [DISCONNECT, DROP_OLDEST, LATEST])
def test_clearing_drops_everything_uncounted(overflow: int) -> None:
    outbox = a_wire(overflow)
    put(outbox, "a1", "b2", "a3", "b4")
    outbox.put_control(b"[pong]")
    dropped = outbox.dropped
    outbox.clear()
    assert (len(outbox), outbox.size, outbox.control_size) == (0, 0, 0)
    assert outbox.take_bytes(1000) == b""
    assert outbox.dropped == dropped
    put(outbox, "a5")
    assert outbox.take_bytes(1000) == b"<a 5>"


# What expires


@pytest.mark.parametrize("overflow", [DISCONNECT, LATEST])
def test_what_has_expired_is_let_go_of_and_the_rest_stays(overflow: int) -> None:
    outbox = an_outbox(overflow, room_for=5)
    expiries = [0.0, 5.0, 9.0, 5.0, 0.0]
    messages = [Message("abcde"[number], b"", expires_at=expiries[number]) for number in range(5)]
    for offset, message in enumerate(messages, 1):
        message.place("e1", offset, 0.0, 0.0)
        if offset == 4:
            outbox.put_gap(Gap(0, 3, "evicted"))
        outbox.append(message)
    assert not outbox.let_go(4.9)
    assert outbox.let_go(5.0)
    assert outbox.size == sum(messages[number].size for number in (0, 2, 4))
    assert outbox.expires_at == 9.0
    assert [outbox.take() for _ in range(5)] == [
        messages[0],
        messages[2],
        Gap(0, 3, "evicted"),
        messages[4],
        None,
    ]
    assert outbox.dropped == 0


def test_one_that_waits_alone_is_let_go_of_as_well() -> None:
    outbox = an_outbox()
    message = Message("a", b"", expires_at=5.0)
    message.place("e1", 1, 0.0, 0.0)
    outbox.put(message)
    assert outbox.let_go(5.0)
    assert outbox.is_empty
    assert outbox.size == 0
    assert not outbox.let_go(6.0)


def test_the_last_message_of_a_topic_stays() -> None:
    """Its end comes with it, and nothing else would tell of that."""
    outbox = an_outbox()
    message = Message("a", b"", expires_at=5.0, close=True)
    message.place("e1", 1, 0.0, 0.0)
    outbox.put(message)
    assert not outbox.let_go(6.0)
    assert outbox.take() is message
