import re

import pytest

from extra.errors import LimitExceeded
from extra.pubsub import Delivery, MemoryEngine, Message, Policy, PolicyTable
from tests.fakes.clock import FakeClock
from tests.unit.pubsub.material import a_message

SIZE = a_message("a").size


class Taker(Delivery):
    """Remembers what it was given, and says that it went to two subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: list[int] = []

    def deliver(self, message: Message) -> int:
        self.offsets.append(message.offset)
        return 2


async def an_engine(policy: Policy | None = None, **limits: int) -> tuple[MemoryEngine, Taker, FakeClock]:
    clock = FakeClock()
    table = PolicyTable(policy) if policy is not None else None
    engine = MemoryEngine(table, clock=clock, epoch="e1", **limits)
    taker = Taker()
    await engine.start(taker)
    return engine, taker, clock


def test_each_engine_begins_an_epoch_of_its_own() -> None:
    """STYLE section 2: epoch names one life of the log."""
    names = {MemoryEngine().epoch() for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in names)
    assert MemoryEngine(epoch="e1").epoch() == "e1"


async def test_a_message_is_in_the_log_and_retained_before_it_is_delivered() -> None:
    engine, taker, _ = await an_engine()

    class Looker(Delivery):
        def deliver(self, message: Message) -> int:
            return len(engine.log) * 10 + len(engine.kept)

    await engine.start(Looker())
    assert await engine.append(a_message("a", retained=True)) == 11
    assert taker.offsets == []


async def test_appending_never_suspends() -> None:
    """DESIGN section 5: publishing is one synchronous stretch."""
    engine, taker, _ = await an_engine()
    appending = engine.append(a_message())
    with pytest.raises(StopIteration) as ended:
        appending.send(None)
    assert ended.value.value == 2
    assert taker.offsets == [1]


async def test_what_cannot_be_retained_is_not_in_the_log() -> None:
    engine, taker, _ = await an_engine(retained_limit_messages=1)
    await engine.append(a_message("a", retained=True))
    with pytest.raises(LimitExceeded, match="retained_limit_messages"):
        await engine.append(a_message("b", retained=True))
    assert (engine.head(), taker.offsets) == (1, [1])
    await engine.append(a_message("b"))
    assert engine.head() == 2


async def test_what_is_retained_is_bounded_in_bytes() -> None:
    engine, _, _ = await an_engine(retained_limit_bytes=SIZE)
    with pytest.raises(LimitExceeded, match="retained_limit_bytes"):
        await engine.append(a_message("a", b".", retained=True))


async def test_what_is_retained_can_be_cleared() -> None:
    engine, _, _ = await an_engine()
    await engine.append(a_message("a", retained=True))
    assert await engine.clear("a")
    assert not await engine.clear("a")
    assert await engine.retained(["a"]) == []


async def test_the_log_is_bounded() -> None:
    engine, _, _ = await an_engine(total_limit_bytes=2 * SIZE, topics_limit=2)
    for topic in "abc":
        await engine.append(a_message(topic))
    figures = engine.figures()
    assert (figures["log_messages"], figures["log_topics"]) == (2, 2)


async def test_the_clock_decides_what_is_given() -> None:
    engine, _, clock = await an_engine(Policy(age_s=10.0))
    await engine.append(a_message("a", expires_at=clock.time() + 5.0, retained=True))
    await engine.append(a_message("a"))
    assert len((await engine.read(["a"], 0, 99, 99)).messages) == 2
    assert len(await engine.retained(["a"])) == 1
    clock.advance(5.0)
    assert len((await engine.read(["a"], 0, 99, 99)).messages) == 1
    assert await engine.retained(["a"]) == []
    assert await engine.before_last(["a"], 1) == 1
    clock.advance(5.0)
    assert len((await engine.read(["a"], 0, 99, 99)).messages) == 0
    assert await engine.before_last(["a"], 1) == 0


async def test_sweeping_gives_back_memory() -> None:
    engine, _, clock = await an_engine(Policy(age_s=10.0))
    await engine.append(a_message("a", expires_at=clock.time() + 10.0, retained=True))
    clock.advance(10.0)
    engine.sweep()
    figures = engine.figures()
    assert (figures["log_messages"], figures["retained_messages"]) == (0, 0)


async def test_figures_tell_what_there_is() -> None:
    engine, _, _ = await an_engine(Policy(messages=1))
    for topic in ("a", "a", "b"):
        await engine.append(a_message(topic, retained=True))
    assert engine.figures() == {
        "log_messages": 2,
        "log_bytes": 2 * SIZE,
        "log_topics": 2,
        "log_evicted": 1,
        "retained_messages": 2,
        "retained_bytes": 2 * SIZE,
    }


async def test_appending_before_the_start_and_after_the_end_is_the_callers_mistake() -> None:
    with pytest.raises(AssertionError, match="has been started"):
        await MemoryEngine().append(a_message())
    engine, _, _ = await an_engine()
    await engine.close()
    await engine.close()
    with pytest.raises(AssertionError, match="has been started"):
        await engine.append(a_message())
