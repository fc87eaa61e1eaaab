"""Applications that answer by messages, and the adapters to ASGI and WSGI."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from extra import server
from extra.bridges import Channels, asgi_of_messaging, messaging_of_asgi
from extra.bridges.asgi_call import ASGICall, http_scope
from extra.bridges.wsgi import messaging_of_wsgi, wsgi_of_messaging
from extra.errors import ChannelClosed, LocalProtocolError
from tests.fakes.asgi import FakeHost, until
from tests.unit.bridges.material import Kit, parts_of
from tests.unit.bridges.test_wsgi import application as wsgi_application
from tests.unit.bridges.test_wsgi import environ_of

BODY = http_scope("POST", "/a", headers=[(b"Content-Length", b"2")])


async def mirror(message: Mapping[str, Any], channels: Channels) -> None:
    whole = b"".join([part async for part in channels.body])
    await channels.reply.put({"status": 201, "headers": [("X-Path", message["path"])], "more_body": True})
    await channels.reply.put({"body": whole})


async def test_application_of_messages_answers_asgi() -> None:
    async with ASGICall(asgi_of_messaging(mirror), BODY, parts_of(b"a", b"b")) as call:
        assert await call.head() == (201, [(b"X-Path", b"/a")])
        assert [part async for part in call.parts()] == [b"ab"]


async def test_it_may_reply_without_reading() -> None:
    async def impatient(message: Mapping[str, Any], channels: Channels) -> None:
        for _ in range(3):  # the last of which is too much
            await channels.reply.put({"status": 200, "body": b"x"})

    host = FakeHost(
        asgi_of_messaging(impatient),
        give=tuple({"type": "http.request", "body": b"a", "more_body": True} for _ in range(5)),
    )
    await host.task
    assert (host.status, host.body) == (200, b"x")


async def test_client_that_leaves_closes_the_reply() -> None:
    seen: list[str] = []

    async def endless(message: Mapping[str, Any], channels: Channels) -> None:
        try:
            while True:
                await channels.reply.put({"status": 200, "body": b"x", "more_body": True})
        except (ChannelClosed, asyncio.CancelledError):
            seen.append("left")
            raise

    before = asyncio.all_tasks()
    host = FakeHost(asgi_of_messaging(endless), give=({"type": "http.request"},))
    await until(lambda: len(host.sent) > 3)
    host.give({"type": "http.disconnect"})
    await host.task
    assert seen == ["left"]
    assert asyncio.all_tasks() == before


async def test_wrong_replies_and_scopes_are_refused() -> None:
    async def no_status(message: Mapping[str, Any], channels: Channels) -> None:
        await channels.reply.put({"body": b"x"})

    async def fail(message: Mapping[str, Any], channels: Channels) -> None:
        raise ZeroDivisionError

    with pytest.raises(LocalProtocolError):
        await FakeHost(asgi_of_messaging(no_status)).task
    with pytest.raises(ZeroDivisionError):
        await FakeHost(asgi_of_messaging(fail)).task
    with pytest.raises(LocalProtocolError):
        await FakeHost(asgi_of_messaging(mirror), "lifespan").task


async def test_asgi_application_answers_messages() -> None:
    app = server(Kit())
    channels = Channels()
    answering = asyncio.ensure_future(messaging_of_asgi(app)(http_scope("GET", "/stream"), channels))
    first = await channels.reply.take()
    assert (first["status"], dict(first["headers"])["content-type"]) == (200, "text/plain; charset=utf-8")
    parts = [await channels.reply.take()]
    while parts[-1].get("more_body"):
        parts.append(await channels.reply.take())
    assert b"".join(part["body"] for part in parts) == b"0\n1\n2\n"
    await answering
    await app.stop()


async def test_there_and_back() -> None:
    app = server(Kit())
    scope = http_scope("POST", "/echo", headers=[(b"Content-Length", b"2")])
    async with ASGICall(asgi_of_messaging(messaging_of_asgi(app)), scope, parts_of(b"ab")) as call:
        assert (await call.head())[0] == 201
        assert [part async for part in call.parts()] == [b"ab"]
    await app.stop()


async def test_wsgi_application_answers_messages() -> None:
    async with ASGICall(
        asgi_of_messaging(messaging_of_wsgi(wsgi_application)), BODY, parts_of(b"ab")
    ) as call:
        assert (await call.head())[0] == 201
        assert b"".join([part async for part in call.parts()]) == b"POST /a  ab"


@pytest.mark.slow
def test_application_of_messages_answers_wsgi() -> None:
    started: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[..., None]:
        started.append(status)
        return lambda data: None

    hosted = wsgi_of_messaging(mirror)
    body: Iterable[bytes] = hosted(environ_of("POST", "/a", b"ab"), start_response)
    assert b"".join(body) == b"ab"
    assert started[0].startswith("201")
    hosted.close()
