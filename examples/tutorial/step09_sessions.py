"""Knowing who it is: a signed cookie, a middleware, and a step before methods that need a name."""

import os
import secrets

from extra import BadRequest, Request, Response, Service, on, pre, server
from extra.http import HTTPError
from extra.http.sessions import Sessions, session_of


class NotEntered(HTTPError):
    """The visitor has not said who they are."""

    code = "not_entered"
    status = 401


def needs_name(request: Request) -> None:
    if "name" not in session_of(request):
        raise NotEntered("enter first: POST /enter")


class Chat(Service):
    @on(POST="/enter")
    async def enter(self, request: Request) -> Response:
        name = (await request.form()).value("name") or ""
        if not 0 < len(name) <= 40:
            raise BadRequest("a name has 1 to 40 characters")
        session_of(request)["name"] = name
        return request.redirect("/", 303)

    @on(POST="/rooms/{room:int}")
    @pre(needs_name)
    async def say(self, request: Request, room: int) -> dict[str, int]:
        said = {"name": session_of(request)["name"], "text": await request.text()}
        receipt = await self.publish(f"rooms/{room}", said)
        return {"offset": receipt.offset}


secret = os.environ.get("SESSION_SECRET") or secrets.token_urlsafe()  # without one, sessions end with us
app = server(Chat, middleware=[Sessions(secret)])
