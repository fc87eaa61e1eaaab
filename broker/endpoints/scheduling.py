"""What is to be published later, over HTTP: listed, and taken back."""

from typing import Final

from broker.endpoints.hub import Hub
from broker.endpoints.parameters import whole_of
from extra.http import NotFound, Request, Response, json_response
from extra.payloads import JSONValue

__all__ = ["Scheduling"]

LIMIT: Final = 1000
LIMIT_MOST: Final = 10_000


class Scheduling:
    """`GET /scheduled` and `DELETE /scheduled/{id}`."""

    def __init__(self, hub: Hub) -> None:
        self.broker = hub.broker

    async def page(self, request: Request) -> Response:
        """Answer with a page, in the order in which they will be published."""
        limit = whole_of("parameter 'limit'", request.query_value("limit"), 1, LIMIT_MOST) or LIMIT
        page = await self.broker.scheduled(after=request.query_value("after") or "", limit=limit)
        messages: list[JSONValue] = [
            {
                "scheduled": each.id,
                "topic": each.topic,
                "deliver_at": each.deliver_at,
                "payload_bytes": each.payload_bytes,
                "retained": each.retained,
            }
            for each in page.messages
        ]
        told: JSONValue = {"scheduled": messages, "after": page.after}
        return json_response(told, headers=(("Cache-Control", "no-store"),))

    async def cancel(self, request: Request) -> Response:
        """Take one back: 204, or 404 when it is not there or has been published."""
        if not await self.broker.cancel(request.params["id"]):
            raise NotFound(f"nothing is scheduled as {request.params['id'][:80]!r}")
        return Response(204)
