"""An ASGI host without sockets: the test is the client."""

import asyncio
from asyncio import Task
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

__all__ = ["FakeHost", "lifespan", "until"]

Message = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until something holds; where it never does, the suite's time limit ends it."""
    while not condition():  # noqa: ASYNC110  # what is waited for is anything
        await asyncio.sleep(0)


class FakeHost:
    """One call of an application: what it sends is in `sent`, what it receives comes from `give`."""

    def __init__(
        self,
        application: Application,
        kind: str = "http",
        target: str = "/",
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        give: tuple[Message, ...] = (),
        **scope: Any,
    ) -> None:
        path, _, query = target.partition("?")
        self.sent: list[Message] = []
        self.received = 0
        self.can_send = asyncio.Event()
        self.can_send.set()
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        for message in give:
            self.give(message)
        self.scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("192.0.2.1", 4000),
            "server": ("testserver", 80),
            **scope,
        }
        self.task: Task[None] = asyncio.ensure_future(self._run(application))

    def give(self, message: Message) -> None:
        """Let the application receive a message, next."""
        self._queue.put_nowait(message)

    @property
    def status(self) -> int:
        """The status of the response."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of the response."""
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        """The body of the response, as far as it has been sent."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        """Whether the response has been sent to its end."""
        return self.sent[-1]["type"].endswith("response.body") and not self.sent[-1].get("more_body", False)

    async def _run(self, application: Application) -> None:
        await application(self.scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self.received += 1
        return await self._queue.get()

    async def _send(self, message: Message) -> None:
        await self.can_send.wait()
        self.sent.append(message)


async def lifespan(application: Application) -> FakeHost:
    """Start an application with a lifespan, and return its host: `lifespan.shutdown` is what stops it."""
    host = FakeHost(application, "lifespan", give=({"type": "lifespan.startup"},))
    await until(lambda: host.sent)
    return host
