"""Groups over HTTP: polling for messages, acknowledging them, and where all stand."""

from typing import Final

import msgspec

from broker.endpoints.hub import Hub
from broker.endpoints.parameters import filters_of, group_of, since_of, whole_of
from broker.endpoints.read import PAGE_LIMIT_BYTES, negotiate, page_response, wait_of
from broker.endpoints.shares import PollShare, check_dead_letters
from extra.errors import InvalidCommand
from extra.http import NotFound, Request, Response, json_response
from extra.payloads import JSONValue
from extra.pubsub import Group, check_delay

__all__ = ["Sharing"]

LIMIT: Final = 1
"""So many messages a poll takes that does not say how many: others may be free for the next."""
LIMIT_MOST: Final = 10_000
SETTLING_LIMIT_BYTES: Final = 256 * 1024


class Settling(msgspec.Struct):
    """The body of a `POST /groups/{group}/ack` and `/nack`."""

    member: str
    offset: int | None = None
    offsets: list[int] | None = None
    delay: float | None = None

    @property
    def settled(self) -> list[int]:
        """The offsets, as a list even if there is one."""
        if (self.offset is None) == (self.offsets is None):
            raise InvalidCommand("either offset or offsets")
        return self.offsets if self.offsets is not None else [self.offset or 0]


class Sharing:
    """`GET /t/{filter}?group=..` that asks for no stream; `/groups`, and what is below it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.broker = hub.broker

    async def poll(self, request: Request) -> Response:
        """Answer with messages for one member, or 204 when none have come in time."""
        media_type = negotiate(request.header("accept"))
        filters = await self.hub.admit_filters(filters_of(request), request)
        name, options = group_of(request)
        limit = whole_of("parameter 'limit'", request.query_value("limit"), 1, LIMIT_MOST) or LIMIT
        wait_s, preference = wait_of(request, self.hub.settings.poll.wait_limit_s)
        since = since_of(request, "now")
        member = self.broker.member_id(request.query_value("member"))
        headers = [("Cache-Control", "no-store"), ("Vary", "Accept"), *preference]
        if request.method == "HEAD":  # which takes nothing from anybody
            self.broker.check_filters(filters)
            return Response(200, content_type=media_type, headers=headers)
        check_dead_letters(self.broker, name, filters, options)
        group = self.broker.groups.groups.get(name)
        former = group.members.get(member) if group is not None else None
        share = former if isinstance(former, PollShare) else PollShare(member)
        group = await self.broker.groups.join(name, filters, options, since, share)
        self.hub.open.add(share)
        self.hub.polls += 1
        try:
            seconds = wait_s if not self.hub.is_draining else None
            taken = await share.take(limit, PAGE_LIMIT_BYTES, seconds)
        finally:
            self.hub.polls -= 1
            if share.waiter is None:
                self.hub.open.discard(share)
        gap, share.gap = share.gap, None
        headers += [("Extra-Cursor", group.cursor()), ("Extra-Member", member)]
        if self.hub.is_draining:
            headers.append(("Retry-After", str(1 + int(self.hub.reconnect_after()))))
        if not taken and gap is None and wait_s is not None:
            return Response(204, headers=headers)
        forms = self.hub.forms
        form = forms.msgpack_envelope if media_type == "application/msgpack" else forms.envelope
        envelopes = [form.encode_shared(message, name, deliveries) for message, deliveries in taken]
        if gap is not None:
            envelopes.insert(0, form.encode_shared_gap(gap, name))
        more = bool(group.ready)
        return page_response(media_type, envelopes, group.cursor(), gap is None, more, False, headers)

    async def list(self, request: Request) -> Response:
        """Answer with all groups, by name."""
        by_name = sorted(self.broker.groups.groups.items())
        groups: list[JSONValue] = [self._told(group) for _, group in by_name]
        answer: JSONValue = {"groups": groups}
        return json_response(answer, headers=(("Cache-Control", "no-store"),))

    async def one(self, request: Request) -> Response:
        """Answer with one of them, and its members."""
        group = self._find(request)
        told = self._told(group)
        told["members"] = [
            {"member": member.id, "unacknowledged": len(member.unacknowledged)}
            for _, member in sorted(group.members.items())
        ]
        return json_response(told, headers=(("Cache-Control", "no-store"),))

    async def remove(self, request: Request) -> Response:
        """Let go of one that has no members."""
        self.broker.groups.remove(self._find(request).name)
        return Response(204)

    async def acknowledge(self, request: Request) -> Response:
        """Settle messages that a member holds."""
        group = self._find(request)
        asked = await self._settling(request)
        if asked.delay is not None:
            raise InvalidCommand("delay: only with /nack")
        self.broker.groups.acknowledge(group.name, asked.member, asked.settled)
        return json_response(self._told(group))

    async def give_back(self, request: Request) -> Response:
        """Have messages that a member holds handed out again."""
        group = self._find(request)
        asked = await self._settling(request)
        delay_s = asked.delay or 0.0
        check_delay(delay_s)
        self.broker.groups.give_back(group.name, asked.member, asked.settled, delay_s)
        return json_response(self._told(group))

    async def _settling(self, request: Request) -> Settling:
        body = await request.body(SETTLING_LIMIT_BYTES, "an acknowledgement")
        try:
            return msgspec.json.decode(body, type=Settling)
        except (ValueError, RecursionError):
            raise InvalidCommand(
                'this takes {"member": text, "offset": number}, or "offsets" with several'
            ) from None

    def _find(self, request: Request) -> Group:
        group = self.broker.groups.groups.get(request.params["group"])
        if group is None:
            raise NotFound(f"no group of the name {request.params['group'][:80]!r} (any more)")
        return group

    def _told(self, group: Group) -> dict[str, JSONValue]:
        terms = group.terms
        filters: list[JSONValue] = [*terms.filters]
        return {
            "group": group.name,
            "filter": filters,
            "offset": group.position(),
            "cursor": group.cursor(),
            "lag": max(0, self.broker.delivered - group.position()),
            "members": len(group.members),
            "waiting": len(group.jobs) - group.held,
            "unacknowledged": group.held,
            "dead_letters_total": group.dead_letters_total,
            "ack_wait": terms.ack_wait_s,
            "max_unacknowledged": terms.max_unacknowledged,
            "max_deliveries": terms.max_deliveries or None,
            "dead_letters": terms.dead_letters or None,
            "order": terms.order,
            "expires": terms.expires_s,
        }
