"""Applications that answer by messages, as coroutines of a message and two channels.

    async def hello(message, channels):
        parts = [part async for part in channels.body]
        headers = [("Content-Type", "text/plain")]
        await channels.reply.put({"status": 200, "headers": headers, "body": b"".join(parts)})

`message` is what an ASGI scope of a request is: `method`, `path`, `query_string`, `headers` and so on.
`body` gives the parts of the request's body, and ends with it. `reply` takes the response: the first item
has `status` and `headers`; each may have a part of the `body`, and `more_body` when there are others to
come. A client that has gone closes `reply`, so that `put` raises ChannelClosed.

Adapters lead both ways to ASGI here, and to WSGI in `extra.bridges.wsgi`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from extra.bridges.asgi_call import ASGI, ASGICall
from extra.bridges.asgi_wires import Message, Receive, Scope, Send
from extra.channels import Channel
from extra.errors import ChannelClosed, LocalProtocolError

__all__ = ["Channels", "MessagingApplication", "Reply", "asgi_of_messaging", "messaging_of_asgi"]

Reply: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Channels:
    """The two that an application gets. Each holds one item: whoever is ahead waits for the other."""

    reply: Channel[Reply] = field(default_factory=lambda: Channel(1))
    body: Channel[bytes] = field(default_factory=lambda: Channel(1))


MessagingApplication: TypeAlias = Callable[[Mapping[str, Any], Channels], Awaitable[None]]


def asgi_of_messaging(application: MessagingApplication) -> ASGI:
    """Return an application of messages as one of ASGI 3. It answers HTTP, and knows no lifespan."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise LocalProtocolError(f"an application of messages answers no {scope['type']!r}")
        channels = Channels()
        answering = asyncio.create_task(_answer(application, scope, channels))
        feeding = asyncio.create_task(_feed(receive, channels, answering))
        try:
            await _reply(channels.reply, send)
            channels.reply.close()  # what comes after the last part leads nowhere
            channels.body.close()
            await asyncio.wait([answering])
        finally:
            for task in (answering, feeding):
                task.cancel()
            await asyncio.wait([answering, feeding])
        if not answering.cancelled() and (error := answering.exception()) is not None:
            raise error

    return call


def messaging_of_asgi(application: ASGI) -> MessagingApplication:
    """Return an application of ASGI 3 as one of messages, for HTTP alone. Its lifespan is not run."""

    async def call(message: Mapping[str, Any], channels: Channels) -> None:
        async with ASGICall(application, dict(message), channels.body) as asgi:
            status, headers = await asgi.head()
            reply: dict[str, Any] = {
                "status": status,
                "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
                "more_body": True,
            }
            await channels.reply.put(reply)
            async for part in asgi.parts():
                await channels.reply.put({"body": part, "more_body": True})
            await channels.reply.put({"body": b""})

    return call


async def _answer(application: MessagingApplication, scope: Scope, channels: Channels) -> None:
    """Run the application; what it has not replied by its end is not there."""
    try:
        await application(scope, channels)
    except ChannelClosed:
        if not channels.reply.closed:
            raise
    finally:
        channels.reply.close()


async def _feed(receive: Receive, channels: Channels, answering: "asyncio.Task[None]") -> None:
    """Hand over the body, and end the application when the client goes."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            channels.reply.close()
            channels.body.close()
            answering.cancel()
            return
        try:
            if message.get("body"):
                await channels.body.put(bytes(message["body"]))
        except ChannelClosed:
            continue  # the application has replied without reading all of it
        if not message.get("more_body", False):
            channels.body.close()


async def _reply(replies: Channel[Reply], send: Send) -> None:
    """Send on the replies. Raises LocalProtocolError when the first has no status."""
    begun = False
    async for reply in replies:
        if not begun:
            if "status" not in reply:
                raise LocalProtocolError("the first reply has no status")
            begun = True
            headers = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.get("headers", ())
            ]
            await send({"type": "http.response.start", "status": reply["status"], "headers": headers})
        more = bool(reply.get("more_body", False))
        part: Message = {"type": "http.response.body", "body": reply.get("body", b""), "more_body": more}
        await send(part)
        if not more:
            return
