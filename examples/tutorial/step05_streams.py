"""What is said, as it is said: an event stream that a browser resumes by itself."""

from collections.abc import AsyncIterator

from extra import Request, Response, Service, on, server
from extra.http import ServerSentEvent


class Chat(Service):
    @on(POST="/rooms/{room:int}")
    async def say(self, request: Request, room: int) -> dict[str, int]:
        receipt = await self.publish(f"rooms/{room}/said", await request.json())
        return {"offset": receipt.offset}

    @on(GET="/rooms/{room:int}/events")
    async def listen(self, request: Request, room: int) -> Response:
        since = request.header("last-event-id") or "now"

        async def events() -> AsyncIterator[ServerSentEvent]:
            async with self.broker.subscribe(f"rooms/{room}/said", since=since) as messages:
                async for message in messages:
                    yield ServerSentEvent(message.data, id=message.cursor)

        return request.sse(events())


app = server(Chat)
