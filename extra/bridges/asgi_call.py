"""Calling an ASGI application for a host that is none: one HTTP request, and its response part by part.

    async with ASGICall(application, scope, body) as call:
        status, headers = await call.head()
        async for part in call.parts():
            ...

The application waits in `send` until the part before has been taken. Leaving the block tells it that the
client has gone, and cancels it after `leave_timeout_s` if it still goes on then.
"""

import asyncio
import logging
from asyncio import Event, Task
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from extra.bridges.asgi_wires import Message, Receive, Scope, Send
from extra.channels import Channel
from extra.errors import ChannelClosed

__all__ = ["ASGI", "ASGICall", "Field", "http_scope"]

logger = logging.getLogger("extra.bridges")

ASGI: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Field: TypeAlias = tuple[bytes, bytes]

LEAVE_TIMEOUT_S: Final = 5.0
VERSIONS: Final = {"version": "3.0", "spec_version": "2.5"}


class ASGICall:
    """One HTTP request to an application. One task at a time may take the response."""

    def __init__(
        self,
        application: ASGI,
        scope: Scope,
        body: AsyncIterator[bytes],
        *,
        leave_timeout_s: float = LEAVE_TIMEOUT_S,
    ) -> None:
        """Prepare to call `application`; `body` is taken from as it asks for more."""
        self._application = application
        self._scope = scope
        self._body: AsyncIterator[bytes] | None = body
        self._leave_timeout_s = leave_timeout_s
        self._sent: Channel[Message] = Channel(1)
        self._over = Event()  # the response is complete, or nobody takes any more
        self._failed = False  # before its response
        self._task: Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._sent.close()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._leave_timeout_s)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def head(self) -> tuple[int, list[Field]]:
        """Return status and header fields; 500 without any, nor a body, when the application has failed."""
        try:
            message = await self._sent.take()
        except ChannelClosed:
            self._failed = True
            return 500, []
        if message["type"] != "http.response.start":
            logger.error("the application has begun its response with %r", message["type"])
            self._failed = True
            return 500, []
        return message["status"], [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the body. Raises ConnectionAbortedError when the application does not complete it."""
        while not self._failed:
            try:
                message = await self._sent.take()
            except ChannelClosed:
                raise ConnectionAbortedError("the application has not completed its response") from None
            if message.get("body"):
                yield bytes(message["body"])
            if not message.get("more_body", False):
                self._over.set()
                return

    async def _run(self) -> None:
        try:
            await self._application(self._scope, self._receive, self._send)
        except OSError:
            if not self._over.is_set():
                logger.exception("the application has failed")
        except Exception:
            logger.exception("the application has failed")
        finally:
            self._sent.close()

    async def _receive(self) -> Message:
        if self._body is not None:
            try:
                part = await anext(self._body)
            except StopAsyncIteration:
                self._body = None
                return {"type": "http.request", "body": b"", "more_body": False}
            except OSError:  # the rest does not come
                self._body = None
                self._over.set()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": True}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        try:
            await self._sent.put(message)
        except ChannelClosed:
            raise OSError("the client has gone") from None


def http_scope(
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Iterable[Field] = (),
    raw_path: bytes | None = None,
    root_path: str = "",
    scheme: str = "http",
    client: tuple[str, int] | None = None,
    http_version: str = "1.1",
) -> dict[str, Any]:
    """Return the scope of a request; `path` is decoded, and begins with `root_path`."""
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": http_version,
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": [(bytes(name).lower(), bytes(value)) for name, value in headers],
        "client": client,
        "server": None,
    }
