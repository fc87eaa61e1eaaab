"""WebSocket sessions: commands in, pushes out.

Commands of one connection run in order. Publishing is done where it arrives, as long as nothing has to be
waited for; everything else runs in one coroutine that exists only while there is any. While commands wait,
for a replay or for room in the outbox, the connection is not read: a client that does not take its answers
cannot ask for more.

Publishing where it arrives takes 3.3 us of processor time for a message of 128 bytes, the frame included; in
the coroutine it took 7.1 us (`make bench ARGS=publish`).
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final, final

from mypy_extensions import mypyc_attr

from broker import __version__
from broker.endpoints.feed import Feed
from broker.endpoints.hub import Hub
from broker.endpoints.parameters import (
    NOT_WITH_GROUP,
    filters_of,
    flag_of,
    group_of,
    overflow_of,
    presence_of,
    session_of,
    since_of,
)
from broker.endpoints.publishing import message_of
from broker.endpoints.reasons import CLOSE_CODES, NotSubscribed
from broker.endpoints.sse import untold
from extra.errors import (
    ChannelClosed,
    ExtraError,
    InvalidCommand,
    NotDelivered,
    PreconditionFailed,
)
from extra.http import Request, Response, WebSocket, WebSocketResponse
from extra.protocols.commands import Ack, Command, Nack, Ping, Publish, Rejected, Subscribe, Unsubscribe
from extra.protocols.decoding import decode_commands_json, decode_commands_msgpack
from extra.protocols.encoding import encode_json, encode_msgpack
from extra.protocols.pushes import (
    Acknowledged,
    EndPush,
    ErrorPush,
    Goodbye,
    Pong,
    Published,
    Push,
    ScheduledPush,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from extra.protocols.websocket import BINARY, TEXT, server_frame
from extra.pubsub import (
    GroupOptions,
    Message,
    NamedSession,
    Receipt,
    Since,
    check_delay,
    format_cursor,
    parse_overflow,
    parse_since,
)
from extra.pubsub.gates import guard_publishing
from extra.pubsub.session import CLOSED

__all__ = ["WebSocketFeed", "WebSockets"]

SLICE_S: Final = 0.005
"""After so long, commands of a connection let others have their turn; a command itself is bounded work."""

JSON: Final = "extra.v1.json"
MSGPACK: Final = "extra.v1.msgpack"

GROUP_OPTIONS: Final = ("ack_wait", "max_unacknowledged", "max_deliveries", "dead_letters", "order")

NORMAL_CLOSURE: Final = 1000
"""What a client closes with that is done; a page that is left or loaded anew says 1001 (RFC 6455 7.4.1)."""

RUN_LIMIT_BYTES: Final = 64 * 1024
RUN_LIMIT_COMMANDS: Final = 256
"""So many commands to publish are taken as one: their answers are a fraction of an outbox."""


class WebSockets:
    """`GET /ws`, and `GET /t/{filter}` with `Upgrade: websocket`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def open(self, request: Request) -> Response:
        """Answer with a session, subscribed already when the path names a filter."""
        first: Subscribe | None = None
        if "topic" in request.params:
            filters = filters_of(request)
            self.hub.broker.check_filters(filters)
            since_of(request, "now")  # refused before the handshake, when it is none
            if request.query_value("group") is not None:
                return self._answer(request, self._joining(request, filters))
            presence, member = presence_of(request)
            session, ack, expires = session_of(request)
            first = Subscribe(
                filter=filters,
                since=request.header("last-event-id") or request.query_value("since") or "now",
                retained=flag_of(request, "retained"),
                presence=presence,
                member=member,
                session=session,
                ack=ack,
                expires=expires,
            )
            self.hub.broker.shown(filters, presence, member)
        return self._answer(request, first)

    def _joining(self, request: Request, filters: list[str]) -> Subscribe:
        """Return the first command of who wants to be a member of a group."""
        group, options = group_of(request)
        return Subscribe(
            filter=filters,
            since=request.query_value("since"),
            member=request.query_value("member"),
            group=group,
            ack_wait=options.ack_wait,
            max_unacknowledged=options.max_unacknowledged,
            max_deliveries=options.max_deliveries,
            dead_letters=options.dead_letters,
            order=options.order,
            expires=options.expires,
        )

    def _answer(self, request: Request, first: Subscribe | None) -> Response:
        offered = [each.strip() for each in (request.header("sec-websocket-protocol") or "").split(",")]
        subprotocol = next((each for each in offered if each in (JSON, MSGPACK)), None)
        settings = self.hub.settings.websocket
        kept = self.hub.request_to_keep(request)
        feed = WebSocketFeed(self.hub, subprotocol == MSGPACK, overflow_of(request), first, kept)
        return WebSocketResponse(
            feed,
            subprotocols=[subprotocol] if subprotocol else [],
            frame_limit_bytes=settings.frame_limit_bytes,
            deflate=settings.deflate,
        )


@final
@mypyc_attr(native_class=True)
class WebSocketFeed(Feed):
    """One WebSocket session: a `WebSocketTaker`."""

    def __init__(
        self,
        hub: Hub,
        is_msgpack: bool,
        overflow: str | None,
        first: Subscribe | None,
        request: Request | None,
    ) -> None:
        forms = hub.forms
        super().__init__(
            hub.broker, hub.flusher, forms.binary_frame if is_msgpack else forms.text_frame, overflow
        )
        self.hub = hub
        self.is_msgpack = is_msgpack
        self.request = request
        self.socket: WebSocket | None = None
        self.commands: deque[Command | Rejected] = deque([first] if first is not None else [])
        self.is_running = False
        self.acknowledged: int | None = None

    # What the connection calls

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket
        self.hub.open.add(self)
        if socket.deflate:
            forms = self.hub.forms
            self.form = forms.deflated_binary_frame if self.is_msgpack else forms.deflated_text_frame
            self.session.outbox.form = self.form
        self.push(
            Welcome(
                session=self.session.id,
                epoch=self.broker.epoch(),
                cursor=self.broker.cursor(),
                version=__version__,
            )
        )
        self.attach(socket)
        if self.hub.is_draining:
            self.end("shutdown", self.hub.reconnect_after())
        elif self.commands:
            self._run()

    def received_text(self, data: bytes) -> None:
        if self.is_msgpack:
            self._refuse("extra.v1.msgpack takes binary frames")
        else:
            self._receive(decode_commands_json(data, self.hub.settings.websocket.commands_limit))

    def received_binary(self, data: bytes) -> None:
        if self.is_msgpack:
            limit = self.hub.settings.websocket.commands_limit
            self._receive(decode_commands_msgpack(data, limit, self.broker.limits.max_payload_bytes))
        else:
            self._refuse("extra.v1.json takes text frames")

    def closed(self, code: int, reason: str) -> None:
        self.socket = None
        self.leaves_at_once = code == NORMAL_CLOSURE
        self.commands.clear()
        self.hub.open.discard(self)
        self.detach()

    # What the broker calls

    def tick(self) -> None:
        """Pings are the connection's own."""

    def end(self, reason: str, reconnect_after_s: float) -> None:
        socket = self.socket
        if socket is None:
            return
        self.socket = None
        self.commands.clear()
        self.hub.count_goodbye(reason)
        cursor = self.last_cursor()
        if self.acknowledged is not None:
            cursor = format_cursor(self.broker.epoch(), self.acknowledged)
        socket.write(self._frame(Goodbye(cursor=cursor, reconnect_after=reconnect_after_s, reason=reason)))
        socket.close(CLOSE_CODES[reason], reason)

    def push(self, push: Push) -> None:
        """Send a push behind everything that waits."""
        self.session.put_control(self._frame(push))

    # Commands

    def _receive(self, commands: list[Command | Rejected]) -> None:
        if self.socket is None:
            return  # it has had its goodbye
        if self.is_running:
            self.commands.extend(commands)
            return
        for done, command in enumerate(commands):
            if not self._do_at_once(command):
                self.commands.extend(commands[done:])
                if isinstance(command, Publish):
                    self._run_soon()
                else:
                    self._run()
                return

    def _run_soon(self) -> None:
        """Run what waits when all frames of this turn have been handed over.

        What they publish is then one run, which an engine that writes takes in one piece: begun with the
        first frame, each message of a publisher that does not wait was a transaction of its own.
        """
        self.is_running = True
        self.hub.flusher.loop.call_soon(self._run)

    def _run(self) -> None:
        self.is_running = True
        self.hub.spawn(self._run_commands())
        if self.is_running and self.socket is not None:
            self.socket.pause_reading()

    async def _run_commands(self) -> None:
        """Run what waits. Ends with the connection: `closed` empties the queue and closes the session."""
        began = perf_counter()
        try:
            while self.commands:
                if perf_counter() - began > SLICE_S:
                    await asyncio.sleep(0)
                    began = perf_counter()
                if not isinstance(self.commands[0], Subscribe):  # which waits for room as it catches up
                    await self.session.wait_for_room()
                command = self.commands.popleft()
                if isinstance(command, Rejected):
                    self._reject(command)
                    continue
                try:
                    if isinstance(command, Publish):
                        await self._publish(self._run_of(command))
                    else:
                        await self._execute(command)
                except ChannelClosed:
                    raise
                except ExtraError as error:
                    await self._fail(command, error)
        except ChannelClosed:
            return  # the client has gone
        except Exception:  # a bug, which whoever runs this logs: no answer to wait for
            if self.socket is not None:
                self.socket.close(CLOSE_CODES["internal"], "internal error")
            raise
        finally:
            self.is_running = False
            if self.socket is not None:
                self.socket.resume_reading()

    async def _execute(self, command: Command) -> None:
        if isinstance(command, Subscribe):
            if command.group is not None:
                await self._join(command, command.group)
            else:
                await self._subscribe(command)
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        elif isinstance(command, (Ack, Nack)):
            self._settle(command)
        elif isinstance(command, Ping):
            self.push(Pong(id=command.id))

    def _do_at_once(self, command: Command | Rejected) -> bool:
        """Run a command of those that come by thousands; return False where it has to wait for something."""
        if isinstance(command, Publish):
            return self._publish_at_once(command)
        if not isinstance(command, (Ack, Nack)) or not self.session.has_room():
            return False
        try:
            self._settle(command)
        except ExtraError as error:
            self._push_error(command, error)
        return True

    def _publish_at_once(self, command: Publish) -> bool:
        """Publish, and return True, unless something has to be waited for."""
        if command.key is not None or command.if_last is not None or not self.session.has_room():
            return False
        if command.deliver_at is not None:
            return False
        if self.broker.gates and guard_publishing(self.broker.gates, command.topic):
            return False
        message = message_of(command, self.broker)
        try:
            reached = self.broker.publish_at_once(message)
        except ExtraError as error:
            self._push_error(command, error)
            return True
        if reached >= 0 and command.id is not None:
            self._answer(command.id, message.topic, message.offset, message.cursor, reached)
        return reached >= 0

    def _run_of(self, first: Publish) -> list[Publish]:
        """Return a command and those that wait behind it to publish as well: an engine takes them as one."""
        run = [first]
        size = len(first.payload)
        while self.commands and size < RUN_LIMIT_BYTES and len(run) < RUN_LIMIT_COMMANDS:
            command = self.commands[0]
            if not isinstance(command, Publish):
                break
            self.commands.popleft()
            run.append(command)
            size += len(command.payload)
        return run

    async def _publish(self, run: list[Publish]) -> None:
        """Publish, and answer each command in its turn."""
        broker = self.broker
        messages = [message_of(command, broker) for command in run]
        refused = await self._refused(messages) if broker.gates else {}
        admitted = [number for number in range(len(run)) if number not in refused]
        outcomes = await broker.publish_messages(
            [messages[number] for number in admitted],
            [run[number].key for number in admitted],
            [run[number].if_last for number in admitted],
            [run[number].deliver_at for number in admitted],
        )
        answers: dict[int, Receipt | ExtraError] = dict(zip(admitted, outcomes, strict=True))
        answers.update(refused)
        for number, command in enumerate(run):
            answer = answers[number]
            if isinstance(answer, ExtraError):
                await self._fail(command, answer)
            elif command.id is not None and answer.scheduled:
                self.push(
                    ScheduledPush(
                        id=command.id,
                        topic=answer.topic,
                        scheduled=answer.scheduled,
                        deliver_at=answer.deliver_at,
                    )
                )
            elif command.id is not None:
                self._answer(command.id, answer.topic, answer.offset, answer.cursor, answer.subscribers)

    def _answer(self, id: int | str, topic: str, offset: int, cursor: str, reached: int) -> None:
        self.push(Published(id=id, topic=topic, offset=offset, cursor=cursor, subscribers=reached))

    async def _fail(self, command: Command, error: ExtraError) -> None:
        await self.broker.catch_up(self.session)  # what a failed subscription has held back
        self._push_error(command, error)

    def _push_error(self, command: Command, error: ExtraError) -> None:
        message = str(error)
        self.hub.tally.count("websocket", error.code, message)
        push = ErrorPush(id=command.id, code=error.code, message=message, temporary=error.temporary)
        if isinstance(error, PreconditionFailed):
            push.offset, push.cursor = error.offset, error.cursor
        elif isinstance(error, NotDelivered):
            push.offsets = error.offsets
        self.push(push)

    async def _refused(self, messages: list[Message]) -> dict[int, ExtraError]:
        """Ask about messages one by one, and put in the place of each what is to be published instead.

        Return why the others may not be published, by their places.
        """
        refused: dict[int, ExtraError] = {}
        for number, message in enumerate(messages):
            try:
                messages[number] = await self.hub.admit_message(message, self.request)
            except ExtraError as error:
                refused[number] = error
        return refused

    async def _filters_of(self, command: Subscribe) -> list[str]:
        """Return what is subscribed to. Raises what it is refused with, ChannelClosed."""
        filters = list(dict.fromkeys(command.filters))
        if self.broker.gates:
            filters = await self.hub.admit_filters(filters, self.request)
            if self.session.state == CLOSED:
                raise ChannelClosed("the connection is over")
        return filters

    async def _subscribe(self, command: Subscribe) -> None:
        filters = await self._filters_of(command)
        since = parse_since(command.since) if command.since is not None else Since("now")
        if command.session is None and (command.ack is not None or command.expires is not None):
            raise InvalidCommand("ack and expires: only with session")
        for name in GROUP_OPTIONS:
            if getattr(command, name) is not None:
                raise InvalidCommand(f"{name}: only with group")
        overflow = parse_overflow(command.overflow) if command.overflow is not None else None
        broker = self.broker
        shown = broker.shown(filters, command.presence, command.member)
        named: NamedSession | None = None
        if command.session is not None:
            broker.check_claim(self.session, command.session, filters, since)
            named = broker.claim(self.session, command.session, command.ack, command.expires)
            since = since if named.is_new else parse_since(named.since)
        replay = await broker.add_filters(
            self.session,
            filters,
            since,
            retained=command.retained,
            replay_all=command.replay == "all",
            attendance=(shown, command.member or "") if shown is not None else None,
        )
        if overflow is not None:
            self.session.has_overflow = True
            self.session.outbox.overflow = overflow
        given = {message.offset for message in replay.retained}  # with the end behind it
        ends = [each for each in untold(broker.ends(filters), replay.after) if each.offset not in given]
        if named is not None:
            broker.named.begin(named, replay.after)
        await broker.catch_up(self.session)
        answer = Subscribed(
            id=command.id, cursor=broker.cursor(), replayed=replay.count, complete=replay.complete
        )
        if broker.gates and filters != list(dict.fromkeys(command.filters)):
            answer.filter = filters
        self.push(answer)
        for end in ends:
            self.push(EndPush(topic=end.topic, offset=end.offset, cursor=end.cursor))

    async def _join(self, command: Subscribe, group: str) -> None:
        for name in NOT_WITH_GROUP:
            if getattr(command, name) is not None:
                raise InvalidCommand(f"{name}: not together with group")
        options = GroupOptions(
            command.ack_wait,
            command.max_unacknowledged,
            command.max_deliveries,
            command.dead_letters,
            command.order,
            command.expires,
        )
        since = parse_since(command.since or "now")
        filters = await self._filters_of(command)
        share = await self.join(group, filters, options, since, command.member)
        assert share.joined is not None
        cursor = share.joined.cursor()
        self.push(Subscribed(id=command.id, cursor=cursor, replayed=0, complete=True))

    def _unsubscribe(self, command: Unsubscribe) -> None:
        if command.group is not None:
            self.leave(command.group)
            self.push(Unsubscribed(id=command.id))
            return
        filters = command.filters
        for topic_filter in filters:
            if topic_filter not in self.session.filters:
                raise NotSubscribed(f"not subscribed to {topic_filter[:80]!r}")
        for topic_filter in filters:
            self.broker.remove_filter(self.session, topic_filter)
        self.push(Unsubscribed(id=command.id))

    def taken_over(self) -> None:
        self.end("session_taken_over", 0.0)

    def _settle(self, command: Ack | Nack) -> None:
        name = command.group
        if name is None:
            assert isinstance(command, Ack)
            self._acknowledge(command)
            return
        share = self.share(name)
        groups = self.broker.groups
        if isinstance(command, Ack):
            group = groups.acknowledge(name, share.id, command.settled)
        else:
            delay_s = command.delay or 0.0
            check_delay(delay_s)
            group = groups.give_back(name, share.id, command.settled, delay_s)
        if command.id is not None:
            self.push(Acknowledged(id=command.id, cursor=group.cursor()))

    def _acknowledge(self, command: Ack) -> None:
        assert command.offset is not None, "checked as it was decoded"
        named = self.broker.named.held.get(self.session.id)
        if named is not None:
            self.acknowledged = self.broker.named.acknowledge(named, command.offset)
        elif command.offset > self.broker.delivered:
            raise InvalidCommand(
                f"offset {command.offset} has not been delivered: the log is at {self.broker.delivered}"
            )
        else:
            self.acknowledged = max(command.offset, self.acknowledged or 0)
        if command.id is not None:
            cursor = format_cursor(self.broker.epoch(), self.acknowledged)
            self.push(Acknowledged(id=command.id, cursor=cursor))

    def _reject(self, rejected: Rejected) -> None:
        self.hub.tally.count("websocket", rejected.code, rejected.message)
        self.push(ErrorPush(id=rejected.id, code=rejected.code, message=rejected.message, temporary=False))

    def _refuse(self, reason: str) -> None:
        if self.socket is not None:
            self.socket.close(CLOSE_CODES["unsupported_frame"], reason)

    def _frame(self, push: Push) -> bytes:
        if self.is_msgpack:
            return server_frame(BINARY, encode_msgpack(push))
        return server_frame(TEXT, encode_json(push))
