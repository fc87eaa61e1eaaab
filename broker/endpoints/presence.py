"""Who is present, over HTTP."""

from typing import cast

import msgspec

from broker.endpoints.hub import Hub
from broker.endpoints.parameters import filters_of, flag_of, whole_of
from extra.http import Request, Response, json_response
from extra.payloads import JSONValue

__all__ = ["Attendance"]

PRESENCE = "$presence/"
LIMIT = 1000
LIMIT_MOST = 10_000


class Attendance:
    """`GET /presence/{filter}` and `GET /presence?topic=..`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.broker = hub.broker

    async def page(self, request: Request) -> Response:
        """Answer with a snapshot: topics, how many are there, and who unless only numbers are asked for."""
        filters = await self._admitted(request)
        counts_only = flag_of(request, "count") or False
        limit = whole_of("parameter 'limit'", request.query_value("limit"), 1, LIMIT_MOST) or LIMIT
        if counts_only:
            self.broker.check_filters(filters)
            page = self.broker.presence.page(filters, self.broker.cursor(), 0)
        else:
            page = await self.broker.present(*filters, limit=limit)
        places: list[JSONValue] = []
        for place in page.places:
            told: dict[str, JSONValue] = {"topic": place.topic, "count": place.count}
            if not counts_only:
                told["members"] = [
                    {"member": each.id, "data": cast(JSONValue, msgspec.Raw(each.shown))}
                    for each in place.members
                ]
            places.append(told)
        answer: JSONValue = {
            "cursor": page.cursor,
            "count": page.count,
            "more": page.more,
            "places": places,
        }
        headers = (("Cache-Control", "no-store"), ("Extra-Cursor", page.cursor))
        return json_response(answer, headers=headers)

    async def _admitted(self, request: Request) -> list[str]:
        """Return the filters that are asked about, as far as who asks may know who is there."""
        filters = filters_of(request)
        if not self.broker.gates:
            return filters
        self.broker.check_filters(filters)
        told = await self.hub.admit_filters([PRESENCE + each for each in filters], request)
        return [each.removeprefix(PRESENCE) for each in told]
