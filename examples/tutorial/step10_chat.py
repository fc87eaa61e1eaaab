"""The chat: names, rooms, who is here, and a page that shows it all."""

import asyncio
import os
import secrets

from extra import BadRequest, Forbidden, Request, Response, Service, Socket, every, on, pre, server
from extra.http import Compression
from extra.http.sessions import Sessions, session_of
from extra.pubsub import PresencePage

PAGE = """<!doctype html>
<meta charset="utf-8"><title>Chat</title>
<form method="post" action="/enter"><input name="name" placeholder="Your name" required></form>
<p>Here: <span id="here"></span></p><ol id="said"></ol><input id="text" placeholder="Say something">
<script type="module">
  const socket = new WebSocket(location.href.replace(/^http/, "ws") + "rooms/1/talk");
  socket.onmessage = ({ data }) => {
    const heard = JSON.parse(data);
    if (heard.here) return document.querySelector("#here").textContent = heard.here.join(", ");
    const line = document.createElement("li");
    line.textContent = `${heard.name}: ${heard.text}`;
    document.querySelector("#said").append(line);
  };
  document.querySelector("#text").onchange = ({ target }) => {
    socket.send(target.value);
    target.value = "";
  };
</script>
"""


def needs_name(request: Request) -> None:
    if "name" not in session_of(request):
        raise Forbidden("enter first: POST /enter")


class Chat(Service):
    @on(GET="/")
    async def page(self, request: Request) -> Response:
        return request.html(PAGE)

    @on(POST="/enter")
    async def enter(self, request: Request) -> Response:
        name = (await request.form()).value("name") or ""
        if not 0 < len(name) <= 40:
            raise BadRequest("a name has 1 to 40 characters")
        session_of(request)["name"] = name
        return request.redirect("/", 303)

    @on(WEBSOCKET="/rooms/{room:int}/talk")
    @pre(needs_name)
    async def talk(self, socket: Socket, room: int) -> None:
        name = str(session_of(socket.request)["name"])
        async with asyncio.TaskGroup() as tasks:
            hearing = [
                tasks.create_task(self.hear(socket, room, name)),
                tasks.create_task(self.watch(socket, room)),
            ]
            async for text in socket:
                await self.publish(f"rooms/{room}", {"name": name, "text": text})
            for task in hearing:
                task.cancel()

    async def hear(self, socket: Socket, room: int, name: str) -> None:
        """Send what is said: the last twenty, and then what comes. Whoever hears is here."""
        topic = f"rooms/{room}"
        async with self.broker.subscribe(topic, since="last:20", presence=name) as messages:
            async for message in messages:
                await socket.send(message.data)

    async def watch(self, socket: Socket, room: int) -> None:
        """Send who is here, now and whenever that changes."""
        page = await self.broker.present(f"rooms/{room}")
        async with self.broker.subscribe(f"$presence/rooms/{room}", since=page.cursor) as changes:
            await socket.send({"here": self.names(page)})
            async for _ in changes:
                await socket.send({"here": self.names(await self.broker.present(f"rooms/{room}"))})

    @staticmethod
    def names(page: PresencePage) -> list[str]:
        return sorted({str(member.data) for place in page.places for member in place.members})

    @every(seconds=1)
    async def sweep(self) -> None:
        self.broker.sweep()


secret = os.environ.get("SESSION_SECRET") or secrets.token_urlsafe()  # without one, sessions end with us
app = server(Chat, middleware=[Compression(), Sessions(secret)])
