"""Reacting to messages, whoever has published them, and doing something now and then."""

from collections import Counter

from extra import Message, Request, Service, every, on, server


class Chat(Service):
    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    @on(POST="/rooms/{room:int}")
    async def say(self, request: Request, room: int) -> None:
        await self.publish(f"rooms/{room}/said", await request.json())

    @on(TOPIC="rooms/{room:int}/said")
    async def heard(self, message: Message, room: int) -> None:
        self.counts[room] += 1

    @every(seconds=5)
    async def report(self) -> None:
        await self.publish("counts", dict(self.counts), retain=True)

    @on(GET="/rooms/{room:int}/count")
    async def count(self, room: int) -> int:
        return self.counts[room]


app = server(Chat)
