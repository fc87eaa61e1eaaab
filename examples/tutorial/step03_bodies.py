"""Reading what the client sends, and refusing what is no good."""

from extra import BadRequest, Request, Service, on, server


class Chat(Service):
    def __init__(self) -> None:
        self.said: dict[int, list[str]] = {}

    @on(POST="/rooms/{room:int}")
    async def say(self, request: Request, room: int) -> dict[str, int]:
        body = await request.json()
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            raise BadRequest("a text is missing")
        texts = self.said.setdefault(room, [])
        texts.append(body["text"])
        return {"count": len(texts)}

    @on(GET="/rooms/{room:int}")
    async def read(self, room: int) -> list[str]:
        return self.said.get(room, [])


app = server(Chat)
