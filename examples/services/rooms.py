"""Rooms to talk in: HTTP, a WebSocket and topics, all of one service.

    extra run rooms:app                     # by itself
    uvicorn rooms:app                       # under any ASGI server
    extra-broker --app rooms:app            # beside the broker, whose clients hear what is said

Then `curl 127.0.0.1:8000/rooms/1/say -d '{"text": "hello"}'`, and `curl 127.0.0.1:8000/rooms/1/heard`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from extra import Message, Request, Service, Socket, every, expose, on, server


class Rooms(Service):
    prefix = "/rooms"

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    @on(POST="{room:int}/say")
    async def say(self, request: Request, room: int) -> dict[str, int]:
        receipt = await self.publish(f"rooms/{room}/said", await request.json())
        return {"offset": receipt.offset}

    @on(GET="{room:int}/listen")
    async def listen(self, room: int) -> AsyncIterator[Any]:
        """What is said from now on, a line of JSON each."""
        async with self.broker.subscribe(f"rooms/{room}/said") as messages:
            async for message in messages:
                yield message.data

    @on(WEBSOCKET="{room:int}/talk")
    async def talk(self, socket: Socket, room: int) -> None:
        """Both at once: what the client sends is said, and what is said is sent."""

        async def forward() -> None:
            async with self.broker.subscribe(f"rooms/{room}/said") as messages:
                async for message in messages:
                    await socket.send(message.data)

        async with asyncio.TaskGroup() as tasks:
            forwarding = tasks.create_task(forward())
            async for said in socket:
                await self.publish(f"rooms/{room}/said", {"text": said})
            forwarding.cancel()

    @on(TOPIC="rooms/{room}/said")
    async def heard(self, message: Message, room: int) -> None:
        self.counts[room] += 1

    @expose(GET="{room:int}/heard")
    async def count(self, room: int) -> int:
        return self.counts[room]

    @on(REQUEST="rpc/rooms")
    async def rooms(self) -> list[int]:
        return sorted(self.counts)

    @every(seconds=60)
    async def tell(self) -> None:
        await self.publish("rooms/statistics", {"rooms": len(self.counts)}, retain=True)


app = server(Rooms)
