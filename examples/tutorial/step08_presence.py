"""Who is here: whoever listens is a member of the room, and comings and goings are messages."""

import asyncio

from extra import Service, Socket, every, on, server


class Chat(Service):
    @on(WEBSOCKET="/rooms/{room:int}/talk")
    async def talk(self, socket: Socket, room: int, name: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self.hear(socket, room, name))
            async for text in socket:
                await self.publish(f"rooms/{room}", {"name": name, "text": text})
            hearing.cancel()

    async def hear(self, socket: Socket, room: int, name: str) -> None:
        async with self.broker.subscribe(f"rooms/{room}", presence={"name": name}) as messages:
            async for message in messages:
                await socket.send(message.data)

    @on(GET="/rooms/{room:int}/here")
    async def here(self, room: int) -> list[object]:
        page = await self.broker.present(f"rooms/{room}")
        return [member.data for place in page.places for member in place.members]

    @every(seconds=1)
    async def sweep(self) -> None:
        """Let those go who have left: a broker of our own has nobody else to say that a second has passed."""
        self.broker.sweep()


app = server(Chat)
