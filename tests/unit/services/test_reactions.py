"""Methods that react to messages."""

import asyncio
import threading

import pytest

from extra.pubsub import Broker, BrokerLimits, MemoryEngine, Message, Policy, PolicyTable
from extra.services import Service, ServiceLimits, Services, on


class Listener(Service):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()

    @on(TOPIC="rooms/{room:int}/{what}")
    async def hear(self, message: Message, room: int, what: str) -> None:
        if message.data == "fail":
            raise ZeroDivisionError
        if message.data == "hang":
            await asyncio.Event().wait()
        self.heard.put_nowait((room, what, message.data))


async def test_method_is_called_for_each_message_in_order() -> None:
    service = Listener()
    async with Services(service) as services:
        for number in range(3):
            await services.broker.publish(f"rooms/{number}/said", number)
        await services.broker.publish("rooms/x/said", "of another kind")
        await services.broker.publish("elsewhere", "not for it")
        await services.broker.publish("rooms/3/said", 3)
        assert [await service.heard.get() for _ in range(4)] == [(n, "said", n) for n in range(4)]


async def test_what_was_there_before_is_not_heard() -> None:
    async with Broker() as broker:
        await broker.publish("rooms/1/said", "before", retain=True)
        service = Listener()
        async with Services(service, broker=broker):
            await broker.publish("rooms/1/said", "after")
            assert await service.heard.get() == (1, "said", "after")


async def test_failure_is_logged_and_the_next_message_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    service = Listener()
    async with Services(service, limits=ServiceLimits(timeout_s=0.001)) as services:
        for data in ("fail", "hang", "ok"):
            await services.broker.publish("rooms/1/said", data)
        assert await service.heard.get() == (1, "said", "ok")
    assert "TOPIC rooms/{room:int}/{what} (Listener.hear) has failed at offset 1" in caplog.text
    assert "(Listener.hear): not done within timeout_s=0.001: cancelled" in caplog.text


async def test_plain_method_runs_in_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[bool] = asyncio.Queue()

    class Plain(Service):
        @on(TOPIC="a/{n}")
        def slow(self, n: int) -> None:
            is_main = threading.current_thread() is threading.main_thread()
            loop.call_soon_threadsafe(heard.put_nowait, is_main)

        @on(TOPIC="b/{n}", quick=True)
        def quick(self) -> None:
            heard.put_nowait(threading.current_thread() is threading.main_thread())

    async with Services(Plain) as services:
        await services.broker.publish("a/x", None)
        await services.broker.publish("a/1", None)
        assert await heard.get() is False
        await services.broker.publish("b/1", None)
        assert await heard.get() is True
    assert "message at offset 1: invalid arguments: n (topic): expected `int`, got `str`" in caplog.text


async def test_loss_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A method that falls behind further than the log reaches misses messages, and the log says so."""
    go = asyncio.Event()
    done = asyncio.Event()

    class Slow(Service):
        @on(TOPIC="#")
        async def hear(self, message: Message) -> None:
            await go.wait()
            if message.data == "last":
                done.set()

    engine = MemoryEngine(PolicyTable(Policy(messages=1)))
    async with (
        Broker(engine, limits=BrokerLimits(outbox_limit_bytes=2000)) as broker,
        Services(Slow, broker=broker),
    ):
        for _ in range(50):
            await broker.publish("a", "x" * 100)
        await broker.publish("a", "last")
        go.set()
        await done.wait()
    assert "TOPIC # (" in caplog.text
    assert "are missing (evicted)" in caplog.text


def test_parameter_that_comes_from_nowhere_is_refused() -> None:
    class Wrong(Service):
        @on(TOPIC="a/{b}")
        async def hear(self, c: int) -> None: ...

    with pytest.raises(TypeError, match=r"^Wrong\.hear: TOPIC a/\{b\}: parameter 'c' can come from nowhere"):
        Services(Wrong)


class Numbered(Service):
    """Hears and answers, and says which one it is."""

    def __init__(self, number: int, heard: list[tuple[int, object]]) -> None:
        self.number = number
        self.heard = heard
        self.some = asyncio.Event()

    @on(TOPIC="news")
    async def hear(self, message: Message) -> None:
        self.heard.append((self.number, message.data))
        self.some.set()

    @on(REQUEST="who")
    async def who(self) -> int:
        return self.number


async def test_successor_goes_on_where_the_other_stands() -> None:
    heard: list[tuple[int, object]] = []
    async with Broker() as broker:
        old, new = Numbered(1, heard), Numbered(2, heard)
        async with Services(old, broker=broker) as before:
            await broker.publish("news", "a")
            await old.some.wait()
            after = Services(new)
            after.succeed(before)
            after.attach(broker)
            async with after:
                await broker.publish("news", "b")
                await new.some.wait()
                assert heard == [(1, "a"), (2, "b")]
                assert (await new.ask("who", {})).data == 2


async def test_successor_that_cannot_react_gives_the_reactions_back(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, object]] = []

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with Broker() as broker:
        old = Numbered(1, heard)
        async with Services(old, broker=broker) as before:
            after = Services(Numbered(2, heard))
            after.succeed(before)
            after.attach(broker)
            monkeypatch.setattr(after._reactions[-1], "start", fail)
            with pytest.raises(ZeroDivisionError):
                await after.__aenter__()
            await broker.publish("news", "a")
            await old.some.wait()
            assert heard == [(1, "a")]
            assert (await old.ask("who", {})).data == 1
