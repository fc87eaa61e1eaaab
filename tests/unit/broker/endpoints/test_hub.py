"""What the endpoints share: what is open, how time passes for it, and how it ends."""

import asyncio

from broker.endpoints.hub import Hub
from broker.settings import ServerSettings, Settings
from tests.fakes.clock import FakeClock
from tests.unit.broker.endpoints.driving import running_hub


class Recorder:
    """Something open that notes what it is told."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.ticks = 0
        self.ended: list[tuple[str, float]] = []

    def tick(self) -> None:
        self.ticks += 1

    def end(self, reason: str, reconnect_after_s: float) -> None:
        self.ended.append((reason, reconnect_after_s))
        self.hub.open.discard(self)


async def test_a_tick_reaches_all_that_is_open() -> None:
    async with running_hub() as hub:
        recorders = [Recorder(hub) for _ in range(3)]
        hub.open.update(recorders)
        hub.tick()
        assert [recorder.ticks for recorder in recorders] == [1, 1, 1]


async def test_a_tick_gives_back_what_is_too_old() -> None:
    async with running_hub() as hub:
        await hub.broker.publish("a", "x", key="k")
        assert isinstance(hub.broker.clock, FakeClock)
        hub.broker.clock.advance(10_000)
        hub.tick()
        figures = hub.broker.figures()
        assert (figures["log_messages"], figures["idempotency_keys"]) == (0, 0)


async def test_draining_ends_all_that_is_open_over_the_window() -> None:
    settings = Settings(server=ServerSettings(drain_window_s=8.0))
    async with running_hub(settings) as hub:
        draws = iter([0.25, 0.75])
        hub.draw = lambda: next(draws)
        recorders = [Recorder(hub), Recorder(hub)]
        hub.open.update(recorders)
        hub.drain()
        assert hub.is_draining
        assert sorted(ended for recorder in recorders for ended in recorder.ended) == [
            ("shutdown", 2.0),
            ("shutdown", 6.0),
        ]


async def test_goodbyes_are_counted_by_reason() -> None:
    async with running_hub() as hub:
        hub.count_goodbye("slow")
        hub.count_goodbye("slow")
        assert hub.goodbyes_total == {"slow": 2, "shutdown": 0}


async def test_what_is_spawned_runs_at_once_and_is_waited_for() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("began")
        await asyncio.sleep(0)
        steps.append("ended")

    async with running_hub() as hub:
        hub.spawn(work())
        assert steps == ["began"]
    assert steps == ["began", "ended"]
