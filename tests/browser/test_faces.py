"""A browser's own EventSource, WebSocket and fetch on a plain page: what a site without the console uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import Page

from tests.browser.daemon import Daemon

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
]


class Line:
    """A TCP relay that can be cut, as networks are: the browser is not told why."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.url = ""
        self.writers: set[asyncio.StreamWriter] = set()
        self.relays: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.get_running_loop().create_task(self.relay(reader, writer))
        self.relays.add(relay)
        relay.add_done_callback(self.relays.discard)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        both = {writer, there_writer}
        self.writers |= both
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        self.writers -= both


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # cut
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def line_to(daemon: Daemon) -> AsyncIterator[Line]:
    line = Line(daemon.port)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await asyncio.gather(*line.relays)


async def plain_page(page: Page, url: str) -> None:
    """Open a page of the broker's origin that has nothing on it, to run scripts in."""
    await page.goto(f"{url}/healthz")
    await page.evaluate("window.heard = []")


async def heard(page: Page, number: int) -> list[object]:
    await page.wait_for_function("(number) => window.heard.length >= number", arg=number)
    result: list[object] = await page.evaluate("window.heard")
    return result


async def test_an_event_source_hears_messages_and_comes_back_by_itself(page: Page, daemon: Daemon) -> None:
    """WHATWG HTML 9.2: it reconnects with Last-Event-ID, and so misses nothing."""
    async with line_to(daemon) as line:
        await plain_page(page, line.url)
        await page.evaluate(
            """() => new Promise((opened) => {
                window.source = new EventSource("/t/site/**");
                source.onopen = opened;
                source.onmessage = ({ data, lastEventId }) =>
                    heard.push([JSON.parse(data).data, lastEventId.split("-")[1]]);
            })"""
        )
        await daemon.publish("site/x", "one")
        assert await heard(page, 1) == [["one", "1"]]
        line.cut()
        await daemon.publish("site/x", "while it was away")
        await daemon.publish("elsewhere", "not for it")
        await daemon.publish("site/y", "too")
        assert await heard(page, 3) == [["one", "1"], ["while it was away", "2"], ["too", "4"]]
        await page.evaluate("source.close()")


async def test_an_event_source_that_heard_nothing_misses_nothing_either(page: Page, daemon: Daemon) -> None:
    """The first event has no data, and the cursor as its id: that is what it comes back with."""
    async with line_to(daemon) as line:
        await plain_page(page, line.url)
        await page.evaluate(
            """() => new Promise((opened) => {
                window.source = new EventSource("/sse?topic=site/%23&topic=orders/%2B");
                source.onopen = opened;
                source.onmessage = ({ data }) => heard.push(JSON.parse(data).topic);
            })"""
        )
        line.cut()
        await daemon.publish("orders/paid", 1)
        await daemon.publish("site/x", 2)
        assert await heard(page, 2) == ["orders/paid", "site/x"]
        await page.evaluate("source.close()")


async def test_a_websocket_subscribes_publishes_and_resumes(page: Page, daemon: Daemon) -> None:
    await plain_page(page, daemon.url)
    await page.evaluate(
        """() => {
            window.connect = (since = "now") => new Promise((subscribed) => {
                window.socket = new WebSocket(`ws://${location.host}/ws`, ["extra.v1.json"]);
                socket.onmessage = (event) => {
                    for (const push of [JSON.parse(event.data)].flat()) {
                        if (push.op === "welcome") {
                            window.epoch = push.epoch;
                            const command = { op: "subscribe", id: "s", filter: "site/#", since };
                            socket.send(JSON.stringify(command));
                        }
                        if (push.op === "subscribed") subscribed(push);
                        if (push.op === "published") window.receipt = push;
                        if (push.op === "message") heard.push(push.data);
                    }
                };
            });
        }"""
    )
    assert (await page.evaluate("connect()"))["replayed"] == 0
    assert await page.evaluate("socket.protocol") == "extra.v1.json"
    await page.evaluate("""socket.send('{"op": "publish", "id": 7, "topic": "site/x", "data": {"n": 1}}')""")
    assert await heard(page, 1) == [{"n": 1}]
    assert (await page.evaluate("receipt"))["offset"] == 1
    await page.evaluate("socket.close()")
    await daemon.publish("site/x", 2)
    subscribed = await page.evaluate("connect(`${epoch}-1`)")
    assert (subscribed["replayed"], subscribed["complete"]) == (1, True)
    assert await heard(page, 2) == [{"n": 1}, 2]
    await page.evaluate("socket.close()")


async def test_a_topic_is_a_websocket_too(page: Page, daemon: Daemon) -> None:
    await daemon.publish("site/x", "before")
    await plain_page(page, daemon.url)
    await page.evaluate(
        """() => {
            window.socket = new WebSocket(`ws://${location.host}/t/site/**?since=start`);
            socket.onmessage = ({ data }) => heard.push(...[JSON.parse(data)].flat().map((push) => push.op));
        }"""
    )
    assert await heard(page, 3) == ["welcome", "message", "subscribed"]
    await page.evaluate("socket.close()")


async def test_fetch_publishes_reads_and_long_polls(page: Page, daemon: Daemon) -> None:
    await plain_page(page, daemon.url)
    receipt = await page.evaluate(
        """async () => {
            const headers = { "Content-Type": "application/json" };
            return (await fetch("/t/site/x", { method: "POST", headers, body: "[1, 2]" })).json();
        }"""
    )
    waiting = asyncio.ensure_future(
        page.evaluate(
            "(cursor) => fetch(`/t/site/**?wait=20&since=${cursor}`).then((page) => page.json())",
            receipt["cursor"],
        )
    )
    await daemon.publish("site/x", 3)
    answer = await waiting
    assert [message["data"] for message in answer["messages"]] == [3]
    assert answer["complete"] is True


async def test_a_page_of_a_foreign_origin_is_a_stranger(page: Page, daemon: Daemon) -> None:
    """It can neither subscribe nor publish, nor see what it reads (docs/protocol.md, who may ask)."""
    await daemon.publish("site/x", "private")
    async with line_to(daemon) as elsewhere:  # the same broker, but another origin
        await plain_page(page, elsewhere.url)
        outcome = await page.evaluate(
            """async (broker) => {
                const socket = new Promise((done) => {
                    const socket = new WebSocket(broker.replace("http", "ws") + "/ws");
                    socket.onopen = () => done("opened");
                    socket.onerror = () => done("refused");
                });
                const published = fetch(`${broker}/t/site/x`, { method: "POST", mode: "no-cors", body: "1" });
                const read = fetch(`${broker}/t/site/x`).then(() => "seen", () => "not seen");
                await published;
                return [await socket, await read];
            }""",
            daemon.url,
        )
    assert outcome == ["refused", "not seen"]
    assert [message["data"] for message in (await daemon.http.get("/t/site/x")).json()["messages"]] == [
        "private"
    ]
