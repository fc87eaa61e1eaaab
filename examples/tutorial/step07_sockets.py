"""Both directions at once: a WebSocket for each visitor."""

import asyncio

from extra import Service, Socket, on, server


class Chat(Service):
    @on(WEBSOCKET="/rooms/{room:int}/talk")
    async def talk(self, socket: Socket, room: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self.hear(socket, room))
            async for text in socket:
                await self.publish(f"rooms/{room}/said", {"text": text})
            hearing.cancel()

    async def hear(self, socket: Socket, room: int) -> None:
        async with self.broker.subscribe(f"rooms/{room}/said", since="last:20") as messages:
            async for message in messages:
                await socket.send(message.data)


app = server(Chat)
