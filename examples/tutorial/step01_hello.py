"""A service that answers one path."""

from extra import Service, on, server


class Chat(Service):
    @on(GET="/")
    async def hello(self) -> str:
        return "Hello, World !"


app = server(Chat)
