"""Named sessions over HTTP: where they stand, acknowledging, and letting go of them."""

from typing import Annotated, Final

import msgspec

from broker.endpoints.hub import Hub
from extra.errors import InvalidCommand
from extra.http import NotFound, Request, Response, json_response
from extra.payloads import JSONValue
from extra.pubsub import NamedSession

__all__ = ["Positions"]

ACK_LIMIT_BYTES: Final = 1024


class Acknowledgement(msgspec.Struct):
    """The body of a `POST /sessions/{session}/ack`."""

    offset: Annotated[int, msgspec.Meta(ge=0)]


class Positions:
    """`GET /sessions`, `GET` and `DELETE /sessions/{session}`, `POST /sessions/{session}/ack`."""

    def __init__(self, hub: Hub) -> None:
        self.broker = hub.broker

    async def list(self, request: Request) -> Response:
        """Answer with all of them, by name."""
        sessions: list[JSONValue] = [
            self._told(named) for _, named in sorted(self.broker.named.sessions.items())
        ]
        answer: JSONValue = {"sessions": sessions}
        return json_response(answer, headers=(("Cache-Control", "no-store"),))

    async def one(self, request: Request) -> Response:
        """Answer with one of them."""
        return json_response(self._told(self._find(request)), headers=(("Cache-Control", "no-store"),))

    async def remove(self, request: Request) -> Response:
        """Let go of one; whoever holds it reads on without."""
        self.broker.named.remove(self._find(request).name)
        return Response(204)

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge everything up to an offset."""
        named = self._find(request)
        body = await request.body(ACK_LIMIT_BYTES, "an acknowledgement")
        try:
            offset = msgspec.json.decode(body, type=Acknowledgement).offset
        except (ValueError, RecursionError):
            raise InvalidCommand('an acknowledgement is {"offset": number}') from None
        self.broker.named.acknowledge(named, offset)
        return json_response(self._told(named))

    def _find(self, request: Request) -> NamedSession:
        named = self.broker.named.sessions.get(request.params["session"])
        if named is None:
            raise NotFound(f"no session of the name {request.params['session'][:80]!r} (any more)")
        return named

    def _told(self, named: NamedSession) -> dict[str, JSONValue]:
        return {
            "session": named.name,
            "offset": named.offset,
            "cursor": self.broker.named.cursor(named),
            "lag": max(0, self.broker.delivered - named.offset),
            "ack": named.ack,
            "connected": named.holder is not None,
            "expires": named.expires_s,
        }
