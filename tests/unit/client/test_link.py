"""One WebSocket connection: opening, frames, endings. The other side is a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import msgpack
import pytest

from extra.client.address import Address
from extra.client.link import BYTES_PER_FRAME, CODECS, COMMANDS_PER_FRAME, Link, LinkSettings
from extra.errors import BrokerClosed, Forbidden, RemoteProtocolError, Unauthenticated
from extra.protocols.commands import Ping, Publish
from extra.protocols.pushes import Pong
from tests.fakes.websocket_broker import WebSocketBroker

SETTINGS = LinkSettings(
    codec=CODECS["json"],
    connect_timeout_s=5.0,
    close_timeout_s=1.0,
    ping_interval_s=20.0,
    ping_timeout_s=20.0,
    frame_limit_bytes=1000,
    headers={},
    ssl_context=None,
)


@pytest.fixture
async def broker() -> AsyncIterator[WebSocketBroker]:
    async with WebSocketBroker() as listening:
        yield listening


async def open_link(broker: WebSocketBroker, settings: LinkSettings = SETTINGS, path: str = "") -> Link:
    return await Link.open(Address.parse(broker.url + path), settings)


async def test_opening_ends_with_the_welcome(broker: WebSocketBroker) -> None:
    broker.epoch, broker.head = "e9", 7
    link = await open_link(broker, replace(SETTINGS, headers={"Authorization": "Bearer x"}), path="/realtime")
    connection = await broker.connection()
    assert (link.welcome.epoch, link.welcome.cursor) == ("e9", "e9-7")
    assert connection.path == "/realtime/ws"
    assert connection.headers["Authorization"] == "Bearer x"
    assert "Sec-WebSocket-Extensions" not in connection.headers  # compression is off
    await link.close()
    await connection.wait_closed()
    assert connection.close_code == 1000


async def test_nobody_there_is_told_with_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(BrokerClosed, match=f"no broker at {url}: "):
        await Link.open(Address.parse(url), SETTINGS)


async def test_silence_is_not_waited_for_any_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BrokerClosed, match=f"no broker at {url}: no answer within 0"):
            await Link.open(Address.parse(url), replace(SETTINGS, connect_timeout_s=0.01))


async def test_a_welcome_that_does_not_come_is_not_waited_for_any_longer(broker: WebSocketBroker) -> None:
    broker.welcomes = False
    opening = asyncio.ensure_future(open_link(broker, replace(SETTINGS, connect_timeout_s=0.1)))
    connection = await broker.connection()
    with pytest.raises(BrokerClosed, match=r"no answer within 0\.1 s"):
        await opening
    await connection.wait_closed()


async def test_opening_that_is_cancelled_leaves_no_connection(broker: WebSocketBroker) -> None:
    broker.welcomes = False
    opening = asyncio.ensure_future(open_link(broker))
    connection = await broker.connection()
    opening.cancel()
    await connection.wait_closed()
    assert opening.cancelled()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, RemoteProtocolError), (404, RemoteProtocolError), (503, BrokerClosed)]
)
async def test_a_handshake_that_is_refused_without_a_problem_is_told_by_its_status(
    broker: WebSocketBroker, status: int, kind: type[Exception]
) -> None:
    broker.refusals.append((status, ""))
    with pytest.raises(kind, match=f"status {status}"):
        await open_link(broker)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(401, "unauthenticated", Unauthenticated), (403, "forbidden", Forbidden)]
)
async def test_a_handshake_that_is_refused_gives_the_error_of_the_broker(
    broker: WebSocketBroker, status: int, code: str, kind: type[Exception]
) -> None:
    """docs/protocol.md, "Errors"."""
    broker.refusals.append((status, code))
    with pytest.raises(kind):
        await open_link(broker)


async def test_what_does_not_begin_with_a_welcome_is_no_broker(broker: WebSocketBroker) -> None:
    broker.welcomes = False
    opening = asyncio.ensure_future(open_link(broker))
    connection = await broker.connection()
    await connection.push({"op": "pong"})
    with pytest.raises(RemoteProtocolError, match="does not begin with 'welcome'"):
        await opening
    await connection.wait_closed()


async def test_a_connection_that_breaks_off_before_the_welcome_is_no_broker(broker: WebSocketBroker) -> None:
    broker.welcomes = False
    opening = asyncio.ensure_future(open_link(broker))
    (await broker.connection()).cut()
    with pytest.raises(BrokerClosed, match="no close frame"):
        await opening


async def test_what_is_no_websocket_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(RemoteProtocolError, match="does not speak WebSocket"):
            await Link.open(Address.parse(url), SETTINGS)


async def test_a_broker_that_does_not_speak_msgpack_is_told(broker: WebSocketBroker) -> None:
    broker.speaks_msgpack = False
    with pytest.raises(RemoteProtocolError, match=r"does not speak extra\.v1\.msgpack"):
        await open_link(broker, replace(SETTINGS, codec=CODECS["msgpack"]))


@pytest.mark.parametrize("name", ["json", "msgpack"])
async def test_commands_go_out_and_pushes_come_in(broker: WebSocketBroker, name: str) -> None:
    codec = CODECS[name]
    link = await open_link(broker, replace(SETTINGS, codec=codec))
    connection = await broker.connection()
    assert connection.subprotocol == f"extra.v1.{name}"
    await link.send([codec.encode(Ping(id="a")), codec.encode(Ping(id="b"))])
    await link.send([codec.encode(Ping(id="c"))])
    for expected in "abc":
        assert await connection.take() == {"op": "ping", "id": expected}
    assert connection.frames == 2
    await connection.send([{"op": "pong", "id": "a"}, {"op": "news"}, {"op": "pong", "id": "b", "more": 1}])
    assert await link.receive() == [Pong(id="a"), Pong(id="b")]
    await link.close()


async def test_a_frame_that_is_no_push_is_a_protocol_error(broker: WebSocketBroker) -> None:
    link = await open_link(broker)
    connection = await broker.connection()
    await connection.send(b"{")
    with pytest.raises(RemoteProtocolError):
        await link.receive()
    await link.close()


async def test_the_ending_is_told(broker: WebSocketBroker) -> None:
    link = await open_link(broker)
    connection = await broker.connection()
    await connection.close(4290)
    assert await link.receive() is None
    assert link.close_code == 4290
    assert "4290" in link.ending
    await link.send([b"{}"])  # nothing happens any more
    await link.close()


async def test_a_connection_that_breaks_off_has_no_close_code(broker: WebSocketBroker) -> None:
    link = await open_link(broker)
    (await broker.connection()).cut()
    assert await link.receive() is None
    assert link.close_code is None
    assert link.ending
    await link.close()


async def test_a_push_beyond_the_limit_ends_the_connection(broker: WebSocketBroker) -> None:
    link = await open_link(broker)
    connection = await broker.connection()
    await connection.message("a", 1, "x" * 2000)
    assert await link.receive() is None
    assert "1009" in link.ending
    assert link.close_code is None  # it is not the broker that found something too large
    await link.close()


async def test_closing_that_is_cancelled_cuts_the_connection(broker: WebSocketBroker) -> None:
    link = await open_link(broker)
    connection = await broker.connection()
    closing = asyncio.ensure_future(link.close())
    await asyncio.sleep(0)
    closing.cancel()
    await connection.wait_closed()
    await asyncio.wait([closing])


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_commands_are_put_into_as_few_frames_as_hold_them(name: str) -> None:
    codec = CODECS[name]
    small = codec.encode(Ping(id=1))
    large = codec.encode(Publish(topic="a", payload=b"x" * BYTES_PER_FRAME, kind="text"))
    assert codec.frames([]) == []
    assert codec.frames([small]) == [small]
    assert len(codec.frames([small] * COMMANDS_PER_FRAME)) == 1
    assert len(codec.frames([small] * (COMMANDS_PER_FRAME + 1))) == 2
    assert codec.frames([small, large, small]) == [small, large, small]


def test_several_commands_are_an_array() -> None:
    """docs/protocol.md, "WebSocket": a frame holds one object or an array of objects."""
    assert CODECS["json"].frames([b"{}", b"[]"]) == [b"[{},[]]"]
    for count in (2, 15, 16, 300):
        (frame,) = CODECS["msgpack"].frames([msgpack.packb(7)] * count)
        assert msgpack.unpackb(frame) == [7] * count
