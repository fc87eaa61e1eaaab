"""Server-Sent Events: a session whose outbox is written as the body of a response that goes on."""

from typing import Final, final

import msgspec
from mypy_extensions import mypyc_attr

from broker.endpoints.feed import Feed
from broker.endpoints.forms import SharedForm, end_event
from broker.endpoints.hub import Hub
from broker.endpoints.parameters import (
    filters_of,
    flag_of,
    group_of,
    overflow_of,
    presence_of,
    session_of,
    since_of,
)
from extra.errors import ChannelClosed, InvalidCommand
from extra.http import Request, Response, Stream, StreamingResponse
from extra.protocols.encoding import encode_json
from extra.protocols.pushes import Goodbye
from extra.protocols.sse import comment, event
from extra.pubsub import Broker, End, Gap, NamedSession, Position, Since, format_cursor, parse_since

__all__ = ["EventFeed", "EventStreams"]

HEARTBEAT: Final = comment()
HEADERS: Final = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))
RETRY_LEAST_MS: Final = 500
"""An EventSource keeps this delay until it is told another: as long as nobody is there."""
RETRY_AFTER_END_MS: Final = 60_000
"""When its topics have ended, an EventSource that nobody closes asks once more, so much later."""
CONTENT_TYPE: Final = "text/event-stream"


class EventStreams:
    """`GET /t/{filter}` with `Accept: text/event-stream`, and `GET /sse`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def open(self, request: Request) -> Response:
        """Subscribe, and answer with a stream.

        What is wrong with the request is answered before the stream begins.
        """
        filters = await self.hub.admit_filters(filters_of(request), request)
        forms = self.hub.forms
        if request.query_value("group") is not None:
            return await self._share(request, filters)
        form = forms.event
        if request.query_value("format") is not None:
            if request.query_value("format") not in ("raw", "json"):
                raise InvalidCommand(f"parameter 'format' is {request.query_value('format')!r}: json or raw")
            form = forms.raw_event if request.query_value("format") == "raw" else form
        retained_form = forms.raw_retained_event if form is forms.raw_event else forms.retained_event
        presence, member = presence_of(request)
        shown = self.hub.broker.shown(filters, presence, member)
        since = since_of(request, "now")
        retained = flag_of(request, "retained")
        if request.method == "HEAD":
            self.hub.broker.check_filters(filters)
            return StreamingResponse(Unopened(), content_type=CONTENT_TYPE, headers=HEADERS)
        position = since.position if request.header("last-event-id") is not None else None
        if position is not None and has_had_all(self.hub.broker, filters, position):
            return Response(204, headers=(*HEADERS, ("Extra-Closed", "true")))
        name, ack, expires = session_of(request)
        feed = EventFeed(self.hub, form, overflow_of(request))
        feed.session.retained_form = retained_form
        try:
            named: NamedSession | None = None
            if name is not None:
                self.hub.broker.check_claim(feed.session, name, filters, since)
                named = self.hub.broker.claim(feed.session, name, ack, expires)
                # What an EventSource says it has had is more than what it was sent, unless it acknowledges.
                if not named.is_new and (named.ack or request.header("last-event-id") is None):
                    since = parse_since(named.since)
            attendance = (shown, member or "") if shown is not None else None
            await feed.subscribe(filters, since, retained, named, attendance)
        except BaseException:
            feed.detach()
            raise
        return StreamingResponse(feed, content_type=CONTENT_TYPE, headers=HEADERS)

    async def _share(self, request: Request, filters: list[str]) -> Response:
        """Join a group, and answer with a stream of what is handed to this member of it.

        The first event says as which one it acknowledges. What it has had is known to the group, so that
        messages have no id and `Last-Event-ID` says nothing.
        """
        name, options = group_of(request, "format")
        since = parse_since(request.query_value("since") or "now")
        if request.method == "HEAD":
            self.hub.broker.check_filters(filters)
            return StreamingResponse(Unopened(), content_type=CONTENT_TYPE, headers=HEADERS)
        feed = EventFeed(self.hub, self.hub.forms.event, None)
        member = request.query_value("member")
        joined = msgspec.json.encode({"group": name, "member": feed.session.id if member is None else member})
        feed.session.put_control(event(joined, event="joined"))
        try:
            await feed.join(name, filters, options, since, member)
        except BaseException:
            feed.detach()
            raise
        return StreamingResponse(feed, content_type=CONTENT_TYPE, headers=HEADERS)


@final
@mypyc_attr(native_class=True)
class Unopened:
    """Of a `HEAD`, whose answer says as little of a length as that of a `GET` does."""

    def opened(self, stream: Stream) -> None:
        """Not called: there is a head alone."""

    def writable(self) -> None:
        """Not called."""

    def closed(self) -> None:
        """Nothing was opened."""


@final
@mypyc_attr(native_class=True)
class EventFeed(Feed):
    """One event stream: a `StreamTaker`."""

    def __init__(self, hub: Hub, form: SharedForm, overflow: str | None) -> None:
        super().__init__(hub.broker, hub.flusher, form, overflow)
        self.hub = hub
        self.stream: Stream | None = None
        self.begins_at: str | None = None
        self.late_start: Gap | None = None  # an EventSource cannot see what `complete` tells others
        self.ends: list[End] = []  # of topics that had ended before, to be told when the replay is over
        self.may_have_ended = False
        self.was_taken_over = False

    async def subscribe(
        self,
        filters: list[str],
        since: Since,
        retained: bool | None,
        named: NamedSession | None = None,
        attendance: tuple[bytes, str] | None = None,
    ) -> None:
        """Register, raising as `Broker.add_filters` does; what is there follows when the stream is open."""
        replay = await self.broker.add_filters(
            self.session, filters, since, retained=retained, attendance=attendance
        )
        after, known = replay.after, replay.known
        if named is not None:
            self.broker.named.begin(named, after)
        self.ends = untold(self.broker.ends(filters), after)
        self.may_have_ended = self.broker.have_ended(filters)
        epoch = self.broker.epoch()
        if since.position is None or since.position.epoch == epoch:
            self.begins_at = format_cursor(epoch, after, known)
        # Else the client keeps the cursor of the old epoch until it has been told of the gap.
        if not self.session.is_live():
            await self.broker.advance(self.session)  # the first look at the log says what is gone already
        if known < 0 and self.begins_at is not None:
            self.begins_at = format_cursor(epoch, after, replay.known)
        if since.kind == "start" and not replay.complete:
            self.late_start = Gap(after, replay.known, "evicted", cursor=self.begins_at or "")

    def opened(self, stream: Stream) -> None:
        self.stream = stream
        stream.write(event(None, id=self.begins_at, retry_ms=self.hub.settings.sse.retry_ms))
        if self.late_start is not None and self.session.outbox.form is not None:
            stream.write(self.session.outbox.form.encode_gap(self.late_start))
        self.hub.open.add(self)
        self.attach(stream)
        if self.session.is_live():
            self._tell_ends()
        else:
            self.hub.spawn(self._catch_up())
        if self.was_taken_over:
            self.taken_over()
        elif self.hub.is_draining:
            self.end("shutdown", self.hub.reconnect_after())

    def taken_over(self) -> None:
        self.was_taken_over = True  # to be told when the stream is opened, if that is still to come
        self.end("session_taken_over", RETRY_AFTER_END_MS / 1000)

    def topic_ended(self) -> None:
        self.may_have_ended = True

    def flush(self) -> None:
        super().flush()
        if self.may_have_ended:
            self._end_with_its_topics()

    def tick(self) -> None:
        self.quiet_s += 1
        stream = self.stream
        if self.quiet_s >= self.hub.settings.sse.heartbeat_s and stream is not None and stream.writable:
            self.quiet_s = 0
            stream.write(HEARTBEAT)

    def end(self, reason: str, reconnect_after_s: float) -> None:
        stream = self.stream
        if stream is None:
            return
        self.stream = None
        self.hub.count_goodbye(reason)
        goodbye = Goodbye(cursor=self.last_cursor(), reconnect_after=reconnect_after_s, reason=reason)
        retry_ms = max(int(reconnect_after_s * 1000), RETRY_LEAST_MS)
        stream.write(event(encode_json(goodbye), event="goodbye", retry_ms=retry_ms))
        stream.close()

    def closed(self) -> None:
        self.stream = None
        self.hub.open.discard(self)
        self.detach()

    async def _catch_up(self) -> None:
        try:
            while not self.session.is_live():
                await self.session.wait_for_room()
                await self.broker.advance(self.session)
            self._tell_ends()
        except ChannelClosed:
            return  # the client has gone
        except Exception:  # whoever runs this logs it; the client comes back with its cursor
            self.abort()
            raise

    def _tell_ends(self) -> None:
        """Tell of topics that had ended before, as far as the replay does not; then there may be no more."""
        for end in self.ends:
            self.session.put_control(end_event(end.topic, end.offset, end.cursor))
        self.ends = []
        if self.may_have_ended:
            self.wake()

    def _end_with_its_topics(self) -> None:
        """End the stream, if nothing more will come and everything has been written."""
        stream = self.stream
        session = self.session
        if stream is None or self.ends or not session.is_live() or not session.outbox.is_empty:
            return
        self.may_have_ended = False
        if not self.broker.have_ended(list(session.filters)):
            return
        self.stream = None
        self.last_cursor()
        stream.write(event(None, retry_ms=RETRY_AFTER_END_MS))
        stream.close()


def untold(ends: list[End], after: int) -> list[End]:
    """Return those ends that what the log has above `after` does not bring."""
    return [end for end in ends if end.offset <= after or not end.is_kept]


def has_had_all(broker: Broker, filters: list[str], position: Position) -> bool:
    """Return whether nothing is left to come for who stands at `position`: all are topics that have ended.

    To an EventSource that comes back so 204 says not to do it again (HTML 9.2.3).
    """
    if position.epoch != broker.epoch() or not broker.have_ended(filters):
        return False
    return max([end.offset for end in broker.ends(filters)]) <= position.offset
