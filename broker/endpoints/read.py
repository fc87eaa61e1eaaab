"""Reading over HTTP: what the log has at once, and long-polls, which wait when it has nothing."""

import asyncio
import re
from typing import Final

from broker.endpoints.hub import Hub
from broker.endpoints.parameters import (
    filters_of,
    flag_of,
    number_of,
    presence_of,
    session_of,
    since_of,
    whole_of,
)
from broker.endpoints.reasons import NotAcceptable
from extra.errors import InvalidCommand, SessionTakenOver
from extra.http import Request, Response, problem
from extra.protocols.envelope import page_json, page_msgpack
from extra.pubsub import Consumer, NamedSession, Page, Since, parse_cursor, parse_since
from extra.pubsub.named import taken_over

__all__ = ["Bell", "Reader", "negotiate", "page_response", "wait_of"]

LIMIT: Final = 1000
LIMIT_MOST: Final = 10_000
PAGE_LIMIT_BYTES: Final = 1024 * 1024
"""A page ends here as well, whatever `limit` says: it is made in one piece, up to six times that in JSON."""
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MSGPACK: Final = "application/msgpack"
SPOKEN: Final = {
    JSON: JSON,
    "application/*": JSON,
    "*/*": JSON,
    NDJSON: NDJSON,
    "application/jsonl": NDJSON,
    MSGPACK: MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
}


class Bell(Consumer):
    """A long-poll that waits: rung by the first message that matches, or by the end of the broker."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.hub = hub
        self.rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_taken_over = False

    async def wait(
        self,
        filters: list[str],
        cursor: str,
        seconds: float,
        attendance: tuple[bytes, str] | None = None,
        named: NamedSession | None = None,
    ) -> None:
        """Return when there is something after `cursor`, when the time is over.

        Or when the broker shuts down, or another claims the session `named`, which this holds meanwhile.
        With an `attendance`, what to show and as which member, whoever waits is present.

        Raises:
            SessionTakenOver: another has claimed the session.
        """
        broker = self.hub.broker
        session = broker.open_session(self)
        timer = self.hub.flusher.loop.call_later(seconds, self.wake)
        self.hub.open.add(self)
        try:
            if named is not None:
                broker.named.hold(named, session)
            await broker.add_filters(session, filters, parse_since(cursor), attendance=attendance)
            if session.is_live():
                await self.rung
            if self.was_taken_over and named is not None:
                raise taken_over(named.name)
        finally:
            self.hub.open.discard(self)
            timer.cancel()
            broker.close_session(session)

    def wake(self) -> None:
        if not self.rung.done():
            self.rung.set_result(None)

    def overflowed(self) -> None:
        """What came is in the log, from which it will be read."""

    def taken_over(self) -> None:
        self.was_taken_over = True
        self.wake()

    def broker_closed(self) -> None:
        self.wake()

    def tick(self) -> None:
        """A poll sends no heartbeats."""

    def end(self, reason: str, reconnect_after_s: float) -> None:
        self.wake()


class Reader:
    """`GET /t/{filter}` and `GET /poll` when they ask for neither a stream nor a WebSocket."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def read(self, request: Request) -> Response:
        """Answer with a page, 204 when a long-poll ended with nothing, or 410 when something is missing.

        Or with 409, when the named session of one that waits has been claimed by somebody else.
        """
        media_type = negotiate(request.header("accept"))
        broker = self.hub.broker
        filters = await self.hub.admit_filters(filters_of(request), request)
        broker.check_filters(filters)
        limit = whole_of("parameter 'limit'", request.query_value("limit"), 1, LIMIT_MOST) or LIMIT
        retained = flag_of(request, "retained")
        wait_s, preference = wait_of(request, self.hub.settings.poll.wait_limit_s)
        since = since_of(request, "start")
        attendance = self._be_present(request, filters)
        named, since = self._claim(request, filters, since)
        page = await broker.read(filters, since, limit, retained, limit_bytes=PAGE_LIMIT_BYTES)
        # Who asks on with the cursor has been told of the end, and waits: the topic may be opened anew.
        is_told = page.closed and since.position is None
        is_idle = not page.messages and not page.resume and not is_told
        if wait_s is not None and is_idle and request.method != "HEAD":
            try:
                await self._poll(filters, page.cursor, wait_s, attendance, named)
            except SessionTakenOver as error:
                return problem(409, error.code, str(error), headers=(("Cache-Control", "no-store"),))
            since = parse_since(page.cursor)
            page = await broker.read(filters, since, limit, None, limit_bytes=PAGE_LIMIT_BYTES)
        if named is not None:
            at = parse_cursor(page.resume or page.cursor)
            broker.named.begin(named, _begun(since, page, at.offset))
            broker.named.visited(named, at.offset, at.known)
        headers = [
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
            ("Extra-Cursor", page.resume or page.cursor),
            *preference,
        ]
        if page.last_offset is not None:
            headers.append(("ETag", f'"{page.last_offset}"'))
        if page.closed:
            headers.append(("Extra-Closed", "true"))
        if self.hub.is_draining:
            headers.append(("Retry-After", str(1 + int(self.hub.reconnect_after()))))
        if page.resume:
            broker.gaps_total += 1
            return _gone(page, since, broker.epoch(), headers)
        if wait_s is not None and not page.messages:
            return Response(204, headers=headers)
        return self._respond(page, media_type, headers)

    def _claim(self, request: Request, filters: list[str], since: Since) -> tuple[NamedSession | None, Since]:
        """Claim the named session that a reader asks for, as nobody's: it comes again for each page.

        Return it, and where to begin. Who asks for a head alone is given nothing, and claims nothing.
        """
        name, ack, expires = session_of(request)
        if name is None:
            return None, since
        broker = self.hub.broker
        broker.check_claim(None, name, filters, since)
        if request.method == "HEAD":
            known = broker.named.sessions.get(name)
            return None, since if known is None else parse_since(broker.named.next_page(known))
        named = broker.claim_for_page(name, ack, expires)
        return named, since if named.is_new else parse_since(broker.named.visit(named))

    def _be_present(self, request: Request, filters: list[str]) -> tuple[bytes, str] | None:
        """Let who reads be present until the grace time is over; return what it shows, and as which member.

        None when it is not present.
        """
        presence, member = presence_of(request)
        broker = self.hub.broker
        shown = broker.shown(filters, presence, member)
        if shown is None:
            return None
        if member is None:
            raise InvalidCommand("parameter 'member' is missing: each poll has to say who it is")
        if request.method != "HEAD":
            broker.visit(filters, shown, member)
        return shown, member

    async def _poll(
        self,
        filters: list[str],
        cursor: str,
        wait_s: float,
        attendance: tuple[bytes, str] | None,
        named: NamedSession | None,
    ) -> None:
        if self.hub.is_draining:
            return
        self.hub.polls += 1
        try:
            await Bell(self.hub).wait(filters, cursor, wait_s, attendance, named)
        finally:
            self.hub.polls -= 1

    def _respond(self, page: Page, media_type: str, headers: list[tuple[str, str]]) -> Response:
        form = self.hub.forms.msgpack_envelope if media_type == MSGPACK else self.hub.forms.envelope
        envelopes = [message.frame(form) for message in page.messages]
        return page_response(
            media_type, envelopes, page.cursor, page.complete, page.more, page.closed, headers
        )


def wait_of(request: Request, most_s: float) -> tuple[float | None, list[tuple[str, str]]]:
    """Return how long to wait, and what to say of a preference (RFC 7240) that was followed."""
    wait_s = number_of("parameter 'wait'", request.query_value("wait"), 0, most_s)
    if wait_s is not None:
        return wait_s or None, []
    preferred = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", request.header("prefer") or "")
    if preferred is None:
        return None, []
    wait_s = min(float(preferred[1]), most_s)
    return wait_s or None, [("Preference-Applied", f"wait={wait_s:g}")]


def page_response(
    media_type: str,
    envelopes: list[bytes],
    cursor: str,
    complete: bool,
    more: bool,
    closed: bool,
    headers: list[tuple[str, str]],
) -> Response:
    """Return a page of envelopes, which are in the form that goes with the media type."""
    if media_type == MSGPACK:
        body = page_msgpack(envelopes, cursor, complete, more, closed)
        return Response(200, body, content_type=MSGPACK, headers=headers)
    if media_type == NDJSON:
        headers += [
            ("Extra-Complete", "true" if complete else "false"),
            ("Extra-More", "true" if more else "false"),
        ]
        lines = b"".join([envelope + b"\n" for envelope in envelopes])
        return Response(200, lines, content_type=NDJSON, headers=headers)
    body = page_json(envelopes, cursor, complete, more, closed)
    return Response(200, body, content_type=JSON, headers=headers)


def _begun(since: Since, page: Page, until: int) -> int:
    """Return the offset after which a page began, which came to `until`."""
    if since.kind == "start":
        return 0
    if since.position is not None:
        return since.position.offset
    return page.messages[0].offset - 1 if since.kind == "last" and page.messages else until


def _gone(page: Page, since: Since, epoch: str, headers: list[tuple[str, str]]) -> Response:
    what, reason = "the log has begun anew", "epoch"
    after: int | None = None
    if since.position is not None and since.position.epoch == epoch:
        what, reason = f"messages up to offset {page.lost_until} are gone", "evicted"
        after = since.position.offset
    return problem(
        410,
        "unrecoverable_position",
        f"{what}: 'cursor' is where to go on with what is left",
        headers=headers,
        cursor=page.resume,
        after=after,
        until=page.lost_until if reason == "evicted" else 0,
        reason=reason,
    )


def negotiate(accept: str | None) -> str:
    """Return the media type to answer in: of what is spoken, what the client prefers (RFC 9110 12.5.1).

    Raises:
        NotAcceptable: the client takes none of them.
    """
    best, best_quality = "", 0.0
    for item in (accept or "*/*").split(","):
        name, _, parameters = item.partition(";")
        quality = 1.0
        found = re.search(r"(?:^|;)\s*q\s*=\s*([0-9.]+)", parameters)
        if found is not None:
            try:
                quality = float(found[1])
            except ValueError:
                raise InvalidCommand(
                    f"header 'Accept' has quality {found[1][:20]!r}: a number from 0 to 1"
                ) from None
        spoken = SPOKEN.get(name.strip().lower())
        if spoken is not None and quality > best_quality:
            best, best_quality = spoken, quality
    if not best:
        raise NotAcceptable(
            f"header 'Accept' is {(accept or '')[:80]!r}: {JSON}, {NDJSON}, {MSGPACK} or text/event-stream"
        )
    return best
