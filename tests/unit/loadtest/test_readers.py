"""The kinds of subscribers, without a server: what they make of the bytes that come."""

from collections.abc import Callable, Iterator

import pytest

from loadtest.generator.checks import Mismatch, Transcript
from loadtest.generator.dialects import DIALECTS
from loadtest.generator.payloads import message_of
from loadtest.generator.plan import Group, Plan, picks
from loadtest.generator.readers import Follower, Owner, Stalled, Subscriber

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
SUBSCRIBED = b'\x81\x10{"op":"welcome"}\x81\x25{"op":"subscribed","cursor":"abc-0"}'


def message(number: int) -> bytes:
    return b"\x81\x7e\x00\x80" + message_of(number, 5.0, 128)


Make = Callable[..., Subscriber]


@pytest.fixture
def keep() -> Iterator[Callable[[Subscriber], None]]:
    """Closes the sockets, which are connected to nobody."""
    made: list[Subscriber] = []
    yield made.append
    for each in made:
        each.socket.close()


@pytest.fixture
def follower(keep: Callable[[Subscriber], None]) -> Follower:
    made = Follower("a", DIALECTS["extra"], Group(1), 0, Transcript())
    keep(made)
    return made


@pytest.fixture
def stalled(keep: Callable[[Subscriber], None]) -> Stalled:
    made = Stalled("a", DIALECTS["extra"], Group(1, is_stalled=True), 0)
    keep(made)
    return made


class TestFollower:
    @pytest.mark.parametrize("size", [1, 10, 1000])
    def test_is_open_when_the_last_answer_has_come(self, follower: Follower, size: int) -> None:
        answer = HEAD + SUBSCRIBED
        parts = [answer[start : start + size] for start in range(0, len(answer), size)]
        opened = [follower.open(memoryview(part)) for part in parts]
        assert opened == [False] * (len(parts) - 1) + [True]

    def test_takes_messages_that_come_with_the_last_answer(self, follower: Follower) -> None:
        assert follower.open(memoryview(HEAD + SUBSCRIBED + message(0)))
        assert follower.arrived() == 1

    def test_a_refusal_ends_the_run(self, follower: Follower) -> None:
        with pytest.raises(Mismatch, match=r"a was answered b'HTTP/1\.1 503"):
            follower.open(memoryview(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"))

    def test_measures_latency_of_whole_messages(self, follower: Follower) -> None:
        follower.delays = []
        data = message(0) + message(1)
        follower.receive(memoryview(data[:-5]))
        assert len(follower.delays) == 1
        follower.receive(memoryview(data[-5:]))
        assert len(follower.delays) == 2

    def test_tells_what_came_last(self, follower: Follower) -> None:
        follower.receive(memoryview(message(0) + b'\x81\x10{"op":"goodbye"}'))
        assert "goodbye" in follower.last_words()


def test_an_owner_expects_what_was_picked_for_it(keep: Callable[[Subscriber], None]) -> None:
    plan = Plan(1, "addressed", topics=3, messages=30)
    picked = picks(3, 30)
    own = [number for number, topic in enumerate(picked) if topic == 2]
    owner = Owner("a", DIALECTS["addressed"], Group(3, ("bench/{}",), is_shared=False), 2, plan)
    keep(owner)
    assert owner.share(30) == len(own)
    assert owner.share(own[0] + 1) == 1
    for number in own:
        owner.receive(memoryview(message(number)))
    assert owner.arrived() == len(own)
    with pytest.raises(Mismatch, match="one too many"):
        owner.receive(memoryview(message(0)))


class TestStalled:
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_counts_what_it_gets_and_what_it_is_told(self, stalled: Stalled, size: int) -> None:
        gap = b'\x81\x50{"op":"gap","after":2,"until":8,"reason":"overflow","dropped":6}'
        goodbye = b'\x81\x40{"op":"goodbye","cursor":"a-9","reconnect_after":0.0,"reason":"slow"}'
        data = message(0) + message(1) + gap + message(8) + goodbye
        for start in range(0, len(data), size):
            stalled.receive(memoryview(data[start : start + size]))
        assert (stalled.received, stalled.dropped, stalled.gaps, stalled.goodbyes) == (3, 6, 1, 1)

    def test_has_all_with_the_last_message_or_a_goodbye(self, stalled: Stalled) -> None:
        stalled.receive(memoryview(message(3)))
        assert stalled.has_all(4)
        assert not stalled.has_all(5)
        stalled.receive(memoryview(b'\x81\x40{"op":"goodbye","cursor":"a-9","reason":"slow"}'))
        assert stalled.has_all(5)

    def test_refuses_what_is_doubled_or_reordered(self, stalled: Stalled) -> None:
        with pytest.raises(Mismatch, match="a got message 4 behind 5"):
            stalled.receive(memoryview(message(5) + message(4)))


def test_a_plan_survives_the_command_line() -> None:
    plan = Plan(80, "raw", (Group(3, ("a", "b"), probes=2), Group(1, is_stalled=True)), first=7)
    assert Plan.from_json(plan.to_json()) == plan
