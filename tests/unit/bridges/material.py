"""Services that the bridges are tried with."""

import asyncio
from collections.abc import AsyncIterator

from extra import Request, Response, Service, Socket, on
from extra.http import ResponseCut

__all__ = ["Kit", "parts_of"]


class Kit(Service):
    """One of everything that a bridge has to carry. `events` is what has happened."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    @on(GET="/hello/{name}")
    async def hello(self, request: Request, name: str, x: str = "") -> dict[str, str]:
        return {"name": name, "x": x, "root_path": request.root_path, "cookie": request.cookies.get("c", "")}

    @on(POST="/echo")
    async def echo(self, request: Request) -> Response:
        answer = request.respond(await request.body(), "application/octet-stream", 201)
        return answer.set_cookie("a", "1").set_cookie("b", "2")

    @on(POST="/unread")
    async def unread(self) -> str:
        return "unread"

    @on(GET="/stream")
    async def stream(self) -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await asyncio.sleep(0)

    @on(GET="/endless")
    async def endless(self) -> AsyncIterator[str]:
        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0)
        finally:
            self.events.append("closed")

    @on(GET="/silent")
    async def silent(self) -> AsyncIterator[str]:
        yield "first\n"
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("closed")

    @on(GET="/cut")
    async def cut(self) -> AsyncIterator[str]:
        yield "first\n"
        raise ResponseCut("the source is gone")

    @on(GET="/empty")
    async def empty(self) -> None: ...

    @on(GET="/fail")
    async def fail(self) -> None:
        raise ZeroDivisionError("secret")

    @on(WEBSOCKET="/socket", subprotocols=["chat"])
    async def socket(self, socket: Socket) -> None:
        async for message in socket:
            await socket.send(message)


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
