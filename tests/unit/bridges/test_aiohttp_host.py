"""Our applications in aiohttp, with its own client."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from extra import server
from extra.bridges.aiohttp_host import aiohttp_application, aiohttp_handler
from tests.fakes.asgi import until
from tests.unit.bridges.material import Kit


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session
            await runner.cleanup()
    finally:
        await runner.cleanup()


def mounted(kit: Kit) -> web.Application:
    application = web.Application()
    application.add_subapp("/inner", aiohttp_application(server(kit)))
    return application


async def test_sub_application_answers() -> None:
    kit = Kit()
    async with served(mounted(kit)) as session:
        assert kit.events == ["start"]
        async with session.get("/inner/hello/a%20b?x=1", cookies={"c": "2"}) as answer:
            assert await answer.json() == {"name": "a b", "x": "1", "root_path": "/inner", "cookie": "2"}
        async with session.post("/inner/echo", data=b"x" * 300_000) as answer:
            assert (answer.status, len(await answer.read())) == (201, 300_000)
            assert answer.headers.getall("Set-Cookie")[0].startswith("a=1")
        async with session.get("/inner/stream") as answer:
            assert await answer.text() == "0\n1\n2\n"
        async with session.get("/inner/empty") as answer:
            assert answer.status == 204
        async with session.head("/inner/stream") as answer:
            assert answer.status == 200
        async with session.get("/inner/fail") as answer:
            assert (answer.status, "secret" in await answer.text()) == (500, False)
        async with session.get("/inner/nowhere") as answer:
            assert answer.status == 404
    assert kit.events == ["start", "stop"]


async def test_client_that_leaves_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit()
    async with served(mounted(kit)) as session:
        async with session.get("/inner/endless") as answer:
            assert await answer.content.readline() == b"tick\n"
        await until(lambda: "closed" in kit.events)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_response_that_is_cut_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with served(mounted(Kit())) as session, session.get("/inner/cut") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert told == ["GET /cut: cut: the source is gone"]


async def test_streams_end_when_aiohttp_shuts_down() -> None:
    kit = Kit()
    async with served(mounted(kit)) as session:
        answer = await session.get("/inner/silent")
        assert await answer.content.readline() == b"first\n"
        reading = asyncio.create_task(answer.content.read())
        socket = await session.ws_connect("/inner/socket")
        closing = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
    assert await reading == b""
    assert (await closing).type is aiohttp.WSMsgType.CLOSE
    assert kit.events == ["start", "closed", "stop"]


async def test_websockets_go_through() -> None:
    async with served(mounted(Kit())) as session:
        async with session.ws_connect("/inner/socket", protocols=["chat"]) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.send_bytes(b"\xff")
            assert await socket.receive_bytes() == b"\xff"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect("/inner/nowhere")
        assert refusal.value.status == 404


async def test_handler_of_a_route() -> None:
    application = web.Application()
    app = server(Kit())
    application.router.add_route("*", "/inner/{tail:.*}", aiohttp_handler(app, prefix="/inner"))
    async with served(application) as session, session.get("/inner/hello/ann") as answer:
        assert (await answer.json())["root_path"] == "/inner"
    await app.stop()
