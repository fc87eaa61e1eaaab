"""What the servers of others are started with, in processes of their own."""

from collections.abc import AsyncIterator

from extra import Request, Service, Socket, on, server
from extra.bridges.wsgi import wsgi

__all__ = ["app", "application"]


class Hosted(Service):
    @on(GET="/hello/{name}")
    async def hello(self, request: Request, name: str) -> dict[str, str]:
        return {"name": name, "client": request.client.rpartition(":")[0]}

    @on(POST="/size")
    async def size(self, request: Request) -> int:
        return len(await request.body())

    @on(GET="/stream")
    async def stream(self) -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"

    @on(WEBSOCKET="/echo")
    async def echo(self, socket: Socket) -> None:
        async for message in socket:
            await socket.send(message)


app = server(Hosted)
application = wsgi(server(Hosted))
