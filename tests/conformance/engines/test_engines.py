"""What `extra.pubsub.Engine` promises, held against every engine."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from extra.errors import LimitExceeded, PreconditionFailed, TopicClosed
from extra.payloads import PayloadKind
from extra.pubsub import Broker, BrokerLimits, Delivery, Engine, Message, Policy, PolicyTable, Slice
from tests.conformance.engines.engines import ENGINES, Terms
from tests.fakes.clock import FakeClock

ALL = 1 << 62
SIZE = Message("a", b"").size
TURNS = 10_000
"""So many turns of the loop a message may take to be delivered."""


class Taker(Delivery):
    """Keeps what it was given, and says that it went to two subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> int:
        self.messages.append(message)
        return 2


class Rig:
    """A started engine, who takes its messages, and its clock."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock
        self.taker = Taker()

    async def append(
        self,
        *topics: str,
        payload: bytes = b"",
        kind: PayloadKind = "binary",
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        ttl: float | None = None,
        retain: bool = False,
    ) -> None:
        for topic in topics:
            message = Message(
                topic,
                payload,
                kind,
                content_type=content_type,
                headers=headers,
                expires_at=0.0 if ttl is None else self.clock.time() + ttl,
                retained=retain,
            )
            await self.engine.append(message)

    async def read(
        self, *filters: str, after: int = 0, until: int = ALL, limit: int = 10_000, limit_bytes: int = ALL
    ) -> Slice:
        return await self.engine.read(list(filters), after, until, limit, limit_bytes)

    async def read_all(self, *filters: str, limit: int) -> list[int]:
        """Read page by page."""
        found: list[int] = []
        position = 0
        while position < self.engine.head():
            piece = await self.read(*filters, after=position, limit=limit)
            assert piece.position > position, "every read comes further"
            found += offsets(piece.messages)
            position = piece.position
        return found

    async def retained(self, *filters: str) -> list[int]:
        return offsets(await self.engine.retained(list(filters)))

    async def delivered(self, count: int) -> list[Message]:
        """Wait until so many messages have been delivered."""
        for _ in range(TURNS):
            if len(self.taker.messages) >= count:
                break
            await asyncio.sleep(0)
        return self.taker.messages


def offsets(messages: list[Message]) -> list[int]:
    return [message.offset for message in messages]


class Rigs:
    """Makes and starts engines of one kind, and closes them in the end."""

    def __init__(self, make: Callable[[Terms], Engine], stack: AsyncExitStack, directory: Path) -> None:
        self.maker = make
        self.stack = stack
        self.directory = directory
        self.made = 0

    def make(self, terms: Terms) -> Engine:
        """Make an engine, in a directory of its own."""
        self.made += 1
        terms.directory = self.directory / str(self.made)
        terms.directory.mkdir()
        return self.maker(terms)

    async def start(self, terms: Terms | None = None) -> Rig:
        terms = terms or Terms()
        rig = Rig(self.make(terms), terms.clock)
        await rig.engine.start(rig.taker)
        self.stack.push_async_callback(rig.engine.close)
        return rig


@pytest.fixture(params=sorted(ENGINES))
async def rigs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rigs]:
    async with AsyncExitStack() as stack:
        yield Rigs(ENGINES[request.param], stack, tmp_path)


@pytest.fixture
async def rig(rigs: Rigs) -> Rig:
    return await rigs.start()


# Appending and delivering


async def test_offsets_count_from_one_over_all_topics(rig: Rig) -> None:
    """STYLE section 2: offset counts from 1, over all topics."""
    assert rig.engine.head() == 0
    messages = [Message(topic, b"") for topic in ("a", "b", "a")]
    for message in messages:
        await rig.engine.append(message)
    assert offsets(messages) == [1, 2, 3]
    await rig.delivered(3)
    assert rig.engine.head() == 3


async def test_an_appended_message_has_its_place(rig: Rig) -> None:
    message = Message("a", b"")
    await rig.engine.append(message)
    assert (message.epoch, message.offset) == (rig.engine.epoch(), 1)
    assert message.time == rig.clock.time()
    assert message.cursor == f"{rig.engine.epoch()}-1"


async def test_the_epoch_can_stand_in_a_cursor(rig: Rig) -> None:
    assert re.fullmatch("[0-9a-z]{1,32}", rig.engine.epoch())


async def test_every_engine_has_an_epoch_of_its_own(rigs: Rigs) -> None:
    epochs = {(await rigs.start()).engine.epoch() for _ in range(5)}
    assert len(epochs) == 5


async def test_every_message_is_delivered_once_in_offset_order(rig: Rig) -> None:
    """DESIGN section 5: order is offset order, however many publish at once."""
    await asyncio.gather(*[rig.append(f"t/{number % 3}") for number in range(50)])
    assert offsets(await rig.delivered(50)) == list(range(1, 51))
    await asyncio.sleep(0)
    assert len(rig.taker.messages) == 50


async def test_what_is_delivered_can_be_read_at_once(rigs: Rigs) -> None:
    rig = await rigs.start()
    await rig.append("a")
    (message,) = await rig.delivered(1)
    assert offsets((await rig.read("a")).messages) == [message.offset]


async def test_appending_tells_how_many_it_reached_as_far_as_that_is_known(rig: Rig) -> None:
    assert await rig.engine.append(Message("a", b"")) in (0, 2)


@pytest.mark.parametrize(
    ("kind", "payload", "content_type"),
    [
        ("json", b'{"celsius":21}', None),
        ("json", b"[]", "application/geo+json"),
        ("text", "grüße".encode(), "text/markdown"),
        ("binary", bytes(range(256)), None),
        ("binary", b"", "image/png"),
    ],
)
async def test_a_message_is_kept_as_it_was_published(
    rig: Rig, kind: PayloadKind, payload: bytes, content_type: str | None
) -> None:
    """STYLE section 2: never changed once made."""
    headers = {"trace": "t1", "name": "ä\n"} if content_type else None
    await rig.append(
        "a/ä", payload=payload, kind=kind, content_type=content_type, headers=headers, ttl=60.0, retain=True
    )
    read = (await rig.read("#")).messages
    retained = await rig.engine.retained(["#"])
    for message in [*await rig.delivered(1), *read, *retained]:
        assert (message.topic, message.payload, message.kind) == ("a/ä", payload, kind)
        assert (message.content_type, message.headers) == (content_type, headers)
        assert (message.epoch, message.offset) == (rig.engine.epoch(), 1)
        assert (message.time, message.expires_at) == (rig.clock.time(), rig.clock.time() + 60.0)
        assert message.retained
    assert (len(read), len(retained)) == (1, 1)


# Reading


async def test_reading_gives_what_matches_in_offset_order_each_once(rig: Rig) -> None:
    await rig.append("a/x", "b", "a/y", "a", "a/x/z", "$SYS/load")
    assert offsets((await rig.read("a/x")).messages) == [1]
    assert offsets((await rig.read("a/+")).messages) == [1, 3]
    assert offsets((await rig.read("a/#")).messages) == [1, 3, 4, 5]
    assert offsets((await rig.read("#", "a/+", "a/x")).messages) == [1, 2, 3, 4, 5]
    assert offsets((await rig.read("$SYS/#")).messages) == [6]
    assert offsets((await rig.read("nowhere")).messages) == []


async def test_reading_keeps_between_after_and_until(rig: Rig) -> None:
    await rig.append(*"aabaa")
    piece = await rig.read("a", after=1, until=4)
    assert (offsets(piece.messages), piece.position) == ([2, 4], 4)


async def test_the_position_is_how_far_everything_is_there(rig: Rig) -> None:
    await rig.append("a", "b", "b")
    for filters in (["a"], ["nowhere"], ["#"]):
        assert (await rig.read(*filters)).position == 3
        assert (await rig.read(*filters, until=2)).position == 2
        assert (await rig.read(*filters, after=3)).position == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_make_up_the_whole(rig: Rig, limit: int) -> None:
    await rig.append(*"abcabca")
    assert await rig.read_all("#", limit=limit) == [1, 2, 3, 4, 5, 6, 7]
    assert await rig.read_all("a", limit=limit) == [1, 4, 7]
    assert await rig.read_all("a", "c", limit=limit) == [1, 3, 4, 6, 7]


async def test_a_page_has_so_many_bytes_or_one_message(rig: Rig) -> None:
    await rig.append("a", "b", "a", "a")
    piece = await rig.read("a", limit_bytes=2 * SIZE)
    assert (offsets(piece.messages), piece.position) == ([1, 3], 3)
    piece = await rig.read("a", limit_bytes=1)
    assert (offsets(piece.messages), piece.position) == ([1], 1)


async def test_very_many_topics_are_read_as_few_are(rig: Rig) -> None:
    topics = [f"t/{number}" for number in range(1_100)]
    await rig.append(*topics, "other", topics[0])
    wanted = [*range(1, 1_101), 1_102]
    assert await rig.read_all("t/#", limit=300) == wanted
    assert (await rig.read("t/#", limit=1)).evicted_until == 0
    assert await rig.engine.before_last(["t/+"], 2) == 1_099


async def test_expired_messages_are_left_out_and_are_no_loss(rig: Rig) -> None:
    """docs/protocol.md, publish: after its ttl a message is no longer given to anybody."""
    await rig.append("a", ttl=5.0)
    await rig.append("a")
    rig.clock.advance(4.9)
    assert offsets((await rig.read("a")).messages) == [1, 2]
    rig.clock.advance(0.1)
    piece = await rig.read("a")
    assert (offsets(piece.messages), piece.position, piece.evicted_until) == ([2], 2, 0)


# Retention and what is lost


async def test_a_topic_keeps_so_many_messages(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=2), entries=[("b", Policy(messages=3))]))
    await rig.append(*"ababab")
    assert offsets((await rig.read("a")).messages) == [3, 5]
    assert offsets((await rig.read("b")).messages) == [2, 4, 6]
    assert (await rig.read("a")).evicted_until == 1
    assert (await rig.read("b")).evicted_until == 0


async def test_a_topic_keeps_so_many_bytes(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(topic_limit_bytes=2 * SIZE + 10)))
    await rig.append("a", payload=b"." * 10)
    await rig.append("a")
    assert (await rig.read("a")).evicted_until == 0
    await rig.append("a")
    piece = await rig.read("a")
    assert (offsets(piece.messages), piece.evicted_until) == ([2, 3], 1)


async def test_a_topic_keeps_messages_for_so_long(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(age_s=10.0)))
    await rig.append("a")
    rig.clock.advance(5.0)
    await rig.append("a")
    rig.clock.advance(5.0)
    piece = await rig.read("a")
    assert (offsets(piece.messages), piece.evicted_until) == ([2], 1)


async def test_the_log_keeps_so_many_bytes_in_all(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(total_limit_bytes=3 * SIZE))
    await rig.append(*"abcde")
    piece = await rig.read("#")
    assert (offsets(piece.messages), piece.evicted_until) == ([3, 4, 5], 2)
    assert (await rig.read("c")).evicted_until == 0


async def test_a_topic_that_keeps_nothing_still_delivers_and_tells(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=0)))
    await rig.append("a", "a")
    assert offsets(await rig.delivered(2)) == [1, 2]
    piece = await rig.read("a")
    assert (offsets(piece.messages), piece.position, piece.evicted_until) == ([], 2, 2)


async def test_what_was_lost_is_told_exactly(rigs: Rigs) -> None:
    """docs/architecture.md, one log, one cursor."""
    rig = await rigs.start(Terms(default=Policy(messages=1)))
    await rig.append("a", "b", "a", "b", "c", "a")  # lost: 1 and 3 of a, 2 of b
    for filters, after, evicted_until in [
        (["a"], 0, 3),
        (["a"], 2, 3),
        (["a"], 3, 0),
        (["b"], 0, 2),
        (["b"], 2, 0),
        (["c"], 0, 0),
        (["b", "c"], 0, 2),
        (["#"], 0, 3),
        (["#"], 3, 0),
        (["nowhere"], 0, 0),
    ]:
        assert (await rig.read(*filters, after=after)).evicted_until == evicted_until, (filters, after)


async def test_what_was_lost_above_the_end_of_a_read_may_be_told(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=1)))
    await rig.append("a", "a", "a")
    assert (await rig.read("a", until=1)).evicted_until in (1, 2)


async def test_forgetting_topics_errs_towards_telling_of_a_loss(rigs: Rigs) -> None:
    """docs/architecture.md, one log, one cursor."""
    rig = await rigs.start(Terms(entries=[("gone/#", Policy(messages=0))], topics_limit=3))
    await rig.append("a", *[f"gone/{number}" for number in range(10)])
    assert (await rig.read("gone/#")).evicted_until == 11
    assert (await rig.read("gone/1")).evicted_until >= 3
    assert offsets((await rig.read("#")).messages) == [1]


async def test_sweeping_gives_back_what_is_too_old(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(age_s=10.0)))
    await rig.append("a", "b", ttl=60.0, retain=True)
    await rig.append("c", ttl=10.0, retain=True)
    rig.clock.advance(10.0)
    for _ in range(3):
        rig.engine.sweep()
    figures = rig.engine.figures()
    assert (figures["log_messages"], figures["log_bytes"], figures["retained_messages"]) == (0, 0, 2)
    assert (await rig.read("#")).evicted_until == 2  # the third had expired


# The last messages


async def test_before_last_is_where_the_last_messages_begin(rig: Rig) -> None:
    """docs/protocol.md, cursors: `last:N`."""
    await rig.append(*"abaabaa")
    for filters, count, after in [
        (["a"], 0, 7),
        (["a"], 1, 6),
        (["a"], 3, 3),
        (["a"], 5, 0),
        (["a"], 6, 0),
        (["a", "b", "#"], 3, 4),
        (["nowhere"], 3, 0),
    ]:
        assert await rig.engine.before_last(filters, count) == after, (filters, count)


async def test_before_last_passes_over_what_has_expired(rig: Rig) -> None:
    await rig.append("a")
    await rig.append("a", "a", ttl=5.0)
    await rig.append("a")
    assert await rig.engine.before_last(["a"], 2) == 2
    rig.clock.advance(5.0)
    assert await rig.engine.before_last(["a"], 2) == 0


# Retained messages


async def test_a_topic_retains_its_last_retained_message(rig: Rig) -> None:
    """MQTT 5.0 section 3.3.1.3."""
    await rig.append("a", "b", "a", retain=True)
    await rig.append("a", "c")
    assert await rig.retained("#") == [2, 3]
    assert await rig.retained("a", "+", "nowhere") == [2, 3]
    assert await rig.retained("b") == [2]
    assert offsets((await rig.read("#")).messages) == [1, 2, 3, 4, 5]


async def test_a_retained_message_can_be_cleared(rig: Rig) -> None:
    await rig.append("a", "b", retain=True)
    assert await rig.engine.clear("a")
    assert not await rig.engine.clear("a")
    assert not await rig.engine.clear("c")
    assert await rig.retained("#") == [2]
    assert offsets((await rig.read("a")).messages) == [1]


async def test_a_retained_message_outlives_retention(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=1, age_s=10.0)))
    await rig.append("a", retain=True)
    await rig.append("a")
    rig.clock.advance(100.0)
    rig.engine.sweep()
    assert await rig.retained("a") == [1]


async def test_a_retained_message_that_has_expired_is_not_given(rig: Rig) -> None:
    await rig.append("a", ttl=5.0, retain=True)
    rig.clock.advance(4.9)
    assert await rig.retained("a") == [1]
    rig.clock.advance(0.1)
    assert await rig.retained("a") == []


async def test_what_there_is_no_room_to_retain_is_not_in_the_log(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(retained_limit_messages=1))
    await rig.append("a", retain=True)
    with pytest.raises(LimitExceeded):
        await rig.append("b", retain=True)
    await rig.append("a", retain=True)
    await rig.append("b")
    assert offsets(await rig.delivered(3)) == [1, 2, 3]
    assert [message.topic for message in (await rig.read("#")).messages] == ["a", "a", "b"]
    assert await rig.retained("#") == [2]


async def test_what_is_retained_is_bounded_in_bytes(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(retained_limit_bytes=2 * SIZE))
    await rig.append("a", "b", retain=True)
    with pytest.raises(LimitExceeded):
        await rig.append("c", retain=True)
    with pytest.raises(LimitExceeded):
        await rig.append("a", payload=b".", retain=True)
    assert await rig.retained("#") == [1, 2]


# Life


async def test_figures_are_counts_by_name(rig: Rig) -> None:
    await rig.append("a", "b", "a", retain=True)
    figures = rig.engine.figures()
    assert (figures["log_messages"], figures["log_topics"], figures["log_evicted"]) == (3, 2, 0)
    assert (figures["log_bytes"], figures["retained_messages"]) == (3 * SIZE, 2)
    assert figures["retained_bytes"] == 2 * SIZE
    assert all(isinstance(value, int) for value in figures.values())


async def test_closing_can_be_repeated(rig: Rig) -> None:
    await rig.append("a")
    await rig.engine.close()
    await rig.engine.close()


# Under a broker


async def test_a_broker_on_any_engine_resumes_with_nothing_lost(rigs: Rigs) -> None:
    """DESIGN section 5: no gap, no double, no reordering."""
    terms = Terms()
    limits = BrokerLimits(outbox_limit_bytes=8 * SIZE)
    async with Broker(rigs.make(terms), limits=limits, clock=terms.clock) as broker:
        seen: list[int] = []

        async def follow() -> None:
            cursor = "start"
            while len(seen) < 60:
                async with broker.subscribe("a", "b/#", since=cursor) as messages:
                    for _ in range(7):
                        seen.append((await anext(messages)).offset)
                        if len(seen) == 60:
                            break
                    cursor = messages.cursor

        async def publish(topic: str) -> None:
            for _ in range(20):
                await broker.publish(topic, b"")

        await broker.publish("a", b"")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for topic in ("a", "b", "c", "b/x"):
                tasks.create_task(publish(topic))
        page = await broker.history("a", "b/#", limit=60)
    assert seen == offsets(page.messages)
    assert len(set(seen)) == 60


# States beside the log


async def test_a_state_is_taken_and_settles(rig: Rig) -> None:
    assert rig.engine.states("group") == []
    await rig.engine.settled()
    rig.engine.keep_state("group", "a", b"1")
    rig.engine.keep_state("group", "a", b"")
    await rig.append("a")
    await rig.engine.settled()
    assert rig.engine.states("group") == [], "what was kept since the start is known to who kept it"


async def test_a_lasting_engine_gives_the_newest_states_after_a_restart(rigs: Rigs) -> None:
    terms = Terms()
    engine = rigs.make(terms)
    await engine.start(Taker())
    for name, value in (("b", b"1"), ("a", b"1"), ("b", b"2"), ("c", b"1"), ("c", b"")):
        engine.keep_state("group", name, value)
        engine.keep_state("session", name, value)
    await engine.close()
    again = rigs.maker(terms)
    await again.start(Taker())
    rigs.stack.push_async_callback(again.close)
    expected = [("a", b"1"), ("b", b"2")] if again.epoch() == engine.epoch() else []
    assert again.states("group") == again.states("session") == expected


# Policies


async def test_policies_are_those_that_were_given(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(entries=[("a/#", Policy(messages=2, overflow="latest"))]))
    assert rig.engine.policy("a/b").messages == 2
    assert rig.engine.policies().overflow("a/+") == "latest"
    await rig.append("a/b")
    assert rig.engine.policy("a/b").messages == 2


async def test_other_policies_take_the_place_of_those_and_loss_is_told(rigs: Rigs) -> None:
    rig = await rigs.start()
    await rig.append("a", "a", "b", "b", retain=True)
    await rig.delivered(4)
    rig.engine.set_policies(PolicyTable(Policy(), [("a", Policy(messages=1, retained=False))]))
    assert rig.engine.policy("a").messages == 1
    rig.engine.sweep()
    piece = await rig.read("#")
    assert (offsets(piece.messages), piece.evicted_until) == ([2, 3, 4], 1)
    assert await rig.retained("#") == [4]


async def test_a_topic_that_is_not_durable_is_read_like_any_other(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(entries=[("a", Policy(durable=False))]))
    await rig.append("a", "b", "a", retain=True)
    piece = await rig.read("#")
    assert (offsets(piece.messages), piece.evicted_until) == ([1, 2, 3], 0)
    assert await rig.retained("#") == [2, 3]


# Conditions


async def test_a_condition_holds_or_nothing_is_appended(rig: Rig) -> None:
    message = Message("a", b"")
    assert await rig.engine.append_if(message, b"", 0) == 2
    assert message.offset == rig.engine.last_offset("a") == 1
    await rig.append("b")
    refused = Message("a", b"", retained=True)
    for if_last in (0, 2):
        with pytest.raises(PreconditionFailed) as caught:
            await rig.engine.append_if(refused, b"", if_last)
        assert (caught.value.offset, caught.value.cursor) == (1, f"{rig.engine.epoch()}-1")
    assert (refused.offset, await rig.retained("a"), rig.engine.head()) == (0, [], 2)
    await rig.engine.append_if(refused, b"", 1)
    assert (refused.offset, await rig.retained("a")) == (3, [3])


async def test_of_several_with_the_same_condition_one_is_appended(rig: Rig) -> None:
    messages = [Message("a", b"") for _ in range(5)]
    answers = await asyncio.gather(
        *(rig.engine.append_if(message, b"", 0) for message in messages), return_exceptions=True
    )
    assert [answer for answer in answers if not isinstance(answer, PreconditionFailed)] == [2]
    assert sorted(message.offset for message in messages) == [0, 0, 0, 0, 1]


async def test_the_last_offset_counts_what_has_gone(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=0)))
    await rig.append("a", "a")
    assert rig.engine.last_offset("a") == 2
    with pytest.raises(PreconditionFailed):
        await rig.engine.append_if(Message("a", b""), b"", 0)


# Ends


async def test_a_topic_takes_nothing_behind_its_last_message(rig: Rig) -> None:
    await rig.append("a", "b")
    assert rig.engine.end("a") is None
    last = Message("a", b"", close=True)
    assert await rig.engine.append(last) == 2
    end = rig.engine.end("a")
    assert end is not None
    assert (end.topic, end.offset, end.cursor, end.is_kept) == ("a", 3, last.cursor, True)
    for refused in (Message("a", b"", retained=True), Message("a", b"", close=True)):
        with pytest.raises(TopicClosed):
            await rig.engine.append(refused)
        assert refused.offset == 0
    assert await rig.retained("#") == []
    await rig.append("b")
    opening = Message("a", b"", close=False)
    await rig.engine.append(opening)
    await rig.append("a")
    assert rig.engine.end("a") is None
    assert offsets((await rig.read("a")).messages) == [1, 3, 5, 6]


async def test_of_several_that_close_a_topic_the_first_does(rig: Rig) -> None:
    messages = [Message("a", b"", close=close) for close in (None, True, None, True, False, None)]
    answers = await asyncio.gather(
        *(rig.engine.append(message) for message in messages), return_exceptions=True
    )
    assert [isinstance(answer, TopicClosed) for answer in answers] == [False, False, True, True, False, False]
    assert [message.offset for message in messages] == [1, 2, 0, 0, 3, 4]


async def test_a_batch_is_held_to_the_end_in_it(rig: Rig) -> None:
    messages = [Message("a", b"", close=True), Message("a", b""), Message("b", b"")]
    answers = await rig.engine.append_many(messages, [b"", b"", b""])
    assert [isinstance(answer, TopicClosed) for answer in answers] == [False, True, False]


async def test_a_topic_stays_closed_when_its_last_message_has_gone(rigs: Rigs) -> None:
    rig = await rigs.start(Terms(default=Policy(messages=0)))
    await rig.engine.append(Message("a", b"", close=True))
    end = rig.engine.end("a")
    assert end is not None
    assert not end.is_kept
    with pytest.raises(TopicClosed):
        await rig.append("a")


# What goes in one piece


async def test_a_message_is_appended_and_a_state_goes_with_it(rigs: Rigs) -> None:
    terms = Terms()
    rig = await rigs.start(terms)
    for name in "ab":
        rig.engine.keep_state("scheduled", name, b"1")
    await rig.engine.settled()
    message = Message("a", b"")
    assert await rig.engine.append_forgetting(message, b"", "scheduled", "a") == 2
    assert message.offset == 1
    await rig.engine.close()
    again = rigs.maker(terms)
    await again.start(Taker())
    rigs.stack.push_async_callback(again.close)
    expected = [("b", b"1")] if again.epoch() == rig.engine.epoch() else []
    assert again.states("scheduled") == expected
