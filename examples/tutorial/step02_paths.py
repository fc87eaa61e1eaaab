"""Parameters from the path and the query, converted to what the method says."""

from extra import Service, expose, on, server


class Chat(Service):
    @on(GET="/rooms/{room:int}")
    async def room(self, room: int) -> dict[str, int]:
        return {"room": room}

    @expose(GET="/add/{a}/{b}")
    async def add(self, a: int, b: int, times: int = 1) -> int:
        return (a + b) * times


app = server(Chat)
