"""The Python client against a real `extra-broker`."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from extra.client import Client, blocking
from extra.errors import (
    BrokerClosed,
    InvalidCommand,
    InvalidCursor,
    InvalidTopic,
    LimitExceeded,
    NotDelivered,
    SessionTakenOver,
)
from extra.pubsub import Gap, Message
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_S = 30.0


@asynccontextmanager
async def daemon(port: int = 0, *arguments: str) -> AsyncIterator[tuple[str, Process]]:
    """Run a broker; yield its URL, which it prints when it has chosen the port itself, and its process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "broker", "serve", "--port", str(port), *arguments, stdout=PIPE, stderr=DEVNULL
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            url = "" if port else (await process.stdout.readline()).decode().strip()
        yield url, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with daemon() as (address, _), asyncio.timeout(WAIT_S):
        yield address


class Proxy:
    """Stands between a client and a broker, and cuts connections."""

    def __init__(self, url: str) -> None:
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)
        self.url = ""
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection, with whatever is on its way."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(16384):
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.transport.abort()


async def take(messages: AsyncIterator[Message], count: int) -> list[Message]:
    return [await anext(messages) for _ in range(count)]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_what_is_published_comes_out_as_it_went_in(url: str, codec: str) -> None:
    values = [{"celsius": 21.5, "tags": ["a", None]}, "grüße", b"\x00\xff", [], "", b"", 0, None, '"quoted"']
    client = Client(url, codec=codec)  # type: ignore[arg-type]  # a parameter of the test
    async with client as broker, broker.subscribe("a/+") as messages:
        for value in values:
            receipt = await broker.publish("a/b", value, headers={"trace": "ä"})
            assert receipt.subscribers == 1
        got = await take(messages, len(values))
    assert [message.data for message in got] == values
    assert {message.topic for message in got} == {"a/b"}
    assert got[0].headers == {"trace": "ä"}
    assert [message.offset for message in got] == sorted(message.offset for message in got)


async def test_publishing_in_sync_code_reaches_subscribers(url: str) -> None:
    async with Client(url) as broker, broker.subscribe("#") as messages:
        for number in range(3):
            receipt = await asyncio.to_thread(
                blocking.publish, url, "/räume//1 2", {"n": number}, headers={"Trace": "ä"}, ttl=60
            )
            message = await anext(messages)
            assert (message.topic, message.data, message.offset) == (
                "/räume//1 2",
                {"n": number},
                receipt.offset,
            )
            assert message.headers == {"trace": "ä"}
            assert message.expires_at > 0


async def test_the_broker_refuses_what_it_refuses_everywhere(url: str) -> None:
    async with Client(url) as broker:
        with pytest.raises(InvalidTopic, match=r"\$SYS"):
            await broker.publish("$SYS/a", 1)
        with pytest.raises(InvalidTopic, match=r"\$SYS"):
            await asyncio.to_thread(blocking.publish, url, "$SYS/a", 1)
        with pytest.raises(LimitExceeded, match="max_payload_bytes"):
            await broker.publish("a", "x" * 1_100_000)
        with pytest.raises(LimitExceeded, match=r"websocket\.frame_limit_bytes"):
            await broker.publish("a", "x" * 3_000_000)
        with pytest.raises(InvalidCursor):
            async with broker.subscribe("a", since="nolog-0-") as _:
                pass
        assert (await broker.publish("a", 1)).offset == 1


async def test_history_is_read_in_pages(url: str) -> None:
    async with Client(url) as broker:
        for number in range(5):
            await broker.publish(f"a/{number % 2}", number)
        page = await broker.history("a/+", limit=3)
        assert [message.data for message in page.messages] == [0, 1, 2]
        assert (page.complete, page.more) == (True, True)
        page = await broker.history("a/0", "a/1", since=page.cursor)
        assert [message.data for message in page.messages] == [3, 4]
        assert (page.complete, page.more) == (True, False)
        async with broker.subscribe("a/+", since=page.cursor) as messages:
            await broker.publish("a/0", 5)
            assert (await anext(messages)).data == 5


async def test_retained_messages_come_first_and_can_be_cleared(url: str) -> None:
    async with Client(url) as broker:
        await broker.publish("a", 1, retain=True)
        await broker.publish("b", 2, retain=True)
        await broker.publish("b", 3)
        async with broker.subscribe("#") as messages:
            assert [message.data for message in await take(messages, 2)] == [1, 2]
        await broker.clear("a")
        async with broker.subscribe("#") as messages:
            await broker.publish("c", 4)
            assert [message.data for message in await take(messages, 2)] == [2, 4]


async def test_loss_is_told(url: str) -> None:
    """Every topic keeps its last 100 messages."""
    gaps: list[Gap] = []
    async with Client(url) as broker:
        first = await broker.publish("a", 0)
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 151):
                tasks.create_task(broker.publish("a", number))
        async with broker.subscribe("a", since=first.cursor, on_gap=gaps.append) as messages:
            got = await take(messages, 100)
            assert not messages.complete
            assert messages.cursor.startswith(got[-1].cursor)
        assert [message.data for message in got] == list(range(51, 151))
        assert [(gap.after, gap.until, gap.reason) for gap in gaps] == [(1, 51, "evicted")]
        page = await broker.history("a", since=first.cursor)
        assert (len(page.messages), page.complete, page.lost_until) == (100, False, 51)


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_or_doubled_over_a_connection_that_breaks(url: str, seed: int) -> None:
    """Publishing and subscribing, with filters that overlap, through a proxy that cuts all connections."""
    draw = Random(seed)
    topics = [f"t/{number}" for number in range(40)]
    count = 2000
    filters = [("t/#",), ("t/+", "t/3"), ("t/1",), ("#",)]
    async with (
        Proxy(url) as proxy,
        Client(url) as watch,
        Client(proxy.url, backoff_initial_s=0.01, backoff_limit_s=0.02, queue_limit_bytes=100_000) as shaky,
        watch.subscribe("t/#", since="start") as reference,
        asyncio.TaskGroup() as tasks,
    ):

        async def cut() -> None:
            while True:
                await asyncio.sleep(draw.uniform(0.01, 0.06))
                proxy.cut()

        async def publish() -> None:
            async with asyncio.TaskGroup() as publishing:
                for number in range(count):
                    publishing.create_task(shaky.publish(draw.choice(topics), number))
                    if number % 50 == 0:
                        await asyncio.sleep(0.02)
            await watch.publish("t/1", "end")

        async def consume(*chosen: str) -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            async with shaky.subscribe(*chosen, since="start", on_gap=gaps.append) as messages:
                async for message in messages:
                    if message.data == "end":
                        return got
                    got.append((message.topic, message.offset))
                    if draw.random() < 0.02:
                        await asyncio.sleep(0.001)
            return got

        gaps: list[Gap] = []
        cutting = tasks.create_task(cut())
        consumers = [tasks.create_task(consume(*each)) for each in filters]
        tasks.create_task(publish())
        expected = []
        published = []
        async for message in reference:
            if message.data == "end":
                break
            expected.append((message.topic, message.offset))
            published.append(message.data)
        results = [await consumer for consumer in consumers]
        cutting.cancel()
    assert sorted(published) == list(range(count))  # type: ignore[type-var]  # they are numbers
    assert not gaps
    assert results[0] == expected
    assert results[1] == expected
    assert results[2] == [each for each in expected if each[0] == "t/1"]
    assert results[3] == expected
    assert proxy.cuts > 5
    assert shaky.reconnections > 3


async def test_a_slow_consumer_gets_a_long_replay_and_holds_up_nobody(url: str) -> None:
    async with Client(url, queue_limit_bytes=20_000) as broker:
        async with asyncio.TaskGroup() as tasks:
            for number in range(3000):
                tasks.create_task(broker.publish(f"a/{number % 50}", number))
        async with (
            broker.subscribe("b") as quick,
            broker.subscribe("a/+", since="start") as slow,
        ):
            got = []
            for number in range(3000):
                if number % 100 == 0:
                    await broker.publish("b", number)
                    assert (await anext(quick)).data == number
                got.append((await anext(slow)).data)
    assert got == list(range(3000))


async def test_a_broker_that_shuts_down_and_comes_back_has_begun_anew() -> None:
    """docs/protocol.md, "Shutdown" and "Loss"."""
    gaps: list[Gap] = []
    async with (
        asyncio.timeout(WAIT_S),
        daemon(0, "--server-drain-window-s", "0.2") as (url, process),
        Client(url, backoff_initial_s=0.02, backoff_limit_s=0.05) as broker,
        broker.subscribe("a", on_gap=gaps.append) as messages,
    ):
        await broker.publish("a", 1)
        assert (await anext(messages)).data == 1
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        async with daemon(int(url.rpartition(":")[2])):
            assert (await broker.publish("a", 2)).offset == 1
            message = await anext(messages)
            assert (message.data, message.offset) == (2, 1)
            assert messages.cursor == message.cursor
    assert [gap.reason for gap in gaps] == ["epoch"]


async def test_a_member_that_comes_back_takes_its_place(daemon: Daemon) -> None:
    async with Client(daemon.url) as client, asyncio.timeout(20):
        async with client.group("named", "named/#", member="worker-1") as former:
            await client.publish("named/1", 1)
            assert (await anext(former)).deliveries == 1
            async with client.group("named", "named/#", member="worker-1") as later:
                job = await anext(later)
                assert (job.data, job.deliveries) == (1, 2)
                with pytest.raises(SessionTakenOver):
                    await anext(former)
                await later.ack(job)
        with pytest.raises(InvalidCommand, match="member '/'"):
            await client.group("named", "named/#", member="/").__aenter__()


@pytest.mark.slow
async def test_a_client_goes_on_by_itself_although_the_broker_is_killed(tmp_path: Path) -> None:
    """The same share and the same sessions, which lose their connections again and again."""
    options = ("--store", str(tmp_path / "store.db"), "--retention-messages", "100000")
    daemon = await asyncio.to_thread(Daemon, *options)
    worked: set[object] = set()
    read: list[object] = []
    passed: list[object] = []

    async def work(client: Client) -> None:
        async with client.group("g", "jobs/#", since="start") as jobs:
            async for job in jobs:
                worked.add(job.data)
                with suppress(NotDelivered):
                    await jobs.ack(job)

    async def read_on(client: Client) -> None:
        async with client.subscribe("jobs/#", session="r", ack=True, since="start") as messages:
            async for message in messages:
                read.append(message.data)
                with suppress(BrokerClosed):
                    await messages.ack(message)

    async def pass_on(client: Client) -> None:
        async with client.subscribe("jobs/#", session="p", since="start") as messages:
            async for message in messages:
                passed.append(message.data)  # noqa: PERF401 - it is looked at meanwhile

    try:
        async with (
            Proxy(daemon.url) as proxy,
            Client(proxy.url, backoff_limit_s=0.5) as client,
            asyncio.timeout(60),
        ):
            doing = [asyncio.ensure_future(each(client)) for each in (work, work, read_on, pass_on)]
            for number in range(400):
                await client.publish("jobs/x", number)
                if number % 100 == 99:
                    await asyncio.to_thread(daemon.kill)
                    daemon = await asyncio.to_thread(Daemon, *options)
                    proxy.port = daemon.port
            expected = list(range(400))
            while worked != set(expected) or len(read) < 400 or len(passed) < 400:
                assert not any(each.done() for each in doing)
                await asyncio.sleep(0.01)
            for each in doing:
                each.cancel()
            await asyncio.wait(doing)
    finally:
        await asyncio.to_thread(daemon.stop)
    assert read == passed == expected, "in order, each once: this process has had them"
