"""Topics in place of a list: the broker keeps what was said, and gives each message its offset."""

from extra import Request, Service, on, server


class Chat(Service):
    @on(POST="/rooms/{room:int}")
    async def say(self, request: Request, room: int) -> dict[str, int]:
        receipt = await self.publish(f"rooms/{room}/said", await request.json())
        return {"offset": receipt.offset}

    @on(GET="/rooms/{room:int}")
    async def read(self, room: int, since: str = "start") -> dict[str, object]:
        page = await self.broker.history(f"rooms/{room}/said", since=since)
        return {"cursor": page.cursor, "said": [message.data for message in page.messages]}


app = server(Chat)
