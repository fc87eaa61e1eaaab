"""A broker at a distance, with the names of the one in process.

Tasks. Entering a client starts one task, which its own TaskGroup waits for: it serves one connection after
the other until the client is left. While a connection lasts, a second task writes and the first reads.

Flow control. Reading stops for a replay that its consumer does not keep up with, for `patience_s` at most,
and never while a receipt is waited for; all else is subscriptions.py's. Writing stops when the connection
does not take any more; then publishing waits for room among what has no receipt yet.

A lost connection is logged once, however many attempts it takes until there is another one.
"""

import asyncio
import logging
import re
import ssl
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast, overload

from extra.client.address import Address
from extra.client.asking import Asking
from extra.client.backoff import Backoff
from extra.client.dedicated import JOIN, Dedicated, Place
from extra.client.messages import Messages
from extra.client.named import SessionMessages
from extra.client.problems import error_from_code
from extra.client.publications import Publications
from extra.client.shares import Share
from extra.client.subscription import Subscription
from extra.client.subscriptions import Subscriptions
from extra.client.surroundings import Surroundings
from extra.errors import BrokerClosed, ExtraError, InvalidCommand, LimitExceeded
from extra.protocols.commands import Overflow, Publish, Subscribe
from extra.protocols.pushes import ErrorPush, Goodbye, Published, Push, ScheduledPush
from extra.pubsub import (
    Gap,
    GroupOptions,
    Page,
    PresencePage,
    Receipt,
    ScheduledPage,
    check_presence,
    compose,
    encode_shown,
    parse_since,
)
from extra.pubsub.arguments import (
    check_group,
    check_history,
    check_publication,
    check_scheduled,
    check_subscription,
)
from extra.topics import check_filter, check_topic

if TYPE_CHECKING:
    from extra.client.link import Link, LinkSettings

__all__ = ["Client"]

STABLE_S = 10.0
"""A connection that lasts so long resets the back-off."""
CLOSE_TIMEOUT_S = 2.0

_USUAL = Surroundings()
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")  # RFC 9110 5.1, 5.5

logger = logging.getLogger("extra.client")


class Client:
    """A connection to a broker that comes back by itself, resumes, and sends again what was not answered.

        async with Client("http://127.0.0.1:8080") as broker:
            async with broker.subscribe("site/+/temp", since="start") as messages:
                await broker.publish("site/a/temp", {"celsius": 21})
                async for message in messages: ...

    Entering connects once and raises if that fails; a connection that is lost later is made again until the
    client is left. All subscriptions share it. A subscriber that does not keep up holds up no other, except
    while the log is replayed to it: what is new for the others waits behind a replay, so a long catch-up
    deserves a client of its own.

    `url` is `http(s)://` or `ws(s)://`, with the path under which a proxy serves the broker, if it does.
    `headers` go with every request. Times are in seconds; `patience_s` is how long a replay waits for a
    consumer that stands still. `queue_limit_bytes` bounds what each subscription buffers, `inflight_limit`
    and `inflight_limit_bytes` what is published and not yet answered, `frame_limit_bytes` a single push.

    `is_connected` says whether there is a connection just now. `reconnections`, `slow_goodbyes` (the broker
    found the connection too slow) and `set_aside` count what has happened so far.

    One event loop; nothing here is thread-safe.

    Raises:
        ValueError: an argument is not what it should be.
    """

    def __init__(
        self,
        url: str,
        *,
        codec: Literal["json", "msgpack"] = "json",
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_s: float = 10.0,
        request_timeout_s: float = 30.0,
        ping_interval_s: float = 20.0,
        ping_timeout_s: float = 20.0,
        backoff_initial_s: float = 0.2,
        backoff_limit_s: float = 15.0,
        patience_s: float = 5.0,
        queue_limit_bytes: int = 1024 * 1024,
        inflight_limit: int = 1000,
        inflight_limit_bytes: int = 8 * 1024 * 1024,
        frame_limit_bytes: int = 16 * 1024 * 1024,
        _surroundings: Surroundings = _USUAL,
    ) -> None:
        if codec not in ("json", "msgpack"):
            raise ValueError(f"codec {codec!r} is not 'json' or 'msgpack'")
        for name, limit in [
            ("queue_limit_bytes", queue_limit_bytes),
            ("inflight_limit", inflight_limit),
            ("inflight_limit_bytes", inflight_limit_bytes),
        ]:
            if limit < 1:
                raise ValueError(f"{name} {limit} is not above 0")
        for name, value in (headers or {}).items():
            if not _FIELD.fullmatch(f"{name}:{value}"):
                raise ValueError(f"header {name[:80]!r} is not one that HTTP can carry")
        self._address = Address.parse(url)
        self._codec_name = codec
        self._headers = dict(headers or {})
        self._ssl_context = ssl_context
        self._connect_timeout_s = connect_timeout_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._patience_s = patience_s
        self._queue_limit_bytes = queue_limit_bytes
        self._frame_limit_bytes = frame_limit_bytes
        self._backoff = Backoff(backoff_initial_s, backoff_limit_s, _surroundings.random)
        self._asking = Asking(self._address, self._headers, request_timeout_s, ssl_context)
        self._clock = _surroundings.clock
        self._sleep = _surroundings.sleep
        self._work = asyncio.Event()  # there is something to send
        self._room = asyncio.Event()  # a consumer has taken something, or a receipt is waited for
        self._subscriptions = Subscriptions(self._work.set)
        self._publications = Publications(inflight_limit, inflight_limit_bytes, self._wake)
        self._numbers = count(1)
        self._key_prefix = uuid.uuid4().hex
        self._settings: LinkSettings | None = None
        self._tasks = asyncio.TaskGroup()
        self._streams: set[Dedicated] = set()
        self._surroundings = _surroundings
        self._runner: asyncio.Task[None] | None = None
        self._first_link: Link | None = None
        self._was_entered = False
        self._is_open = False
        self.is_connected = False
        self.reconnections = 0
        self.slow_goodbyes = 0

    async def __aenter__(self) -> "Client":
        """Connect.

        Raises:
            BrokerClosed: nobody answers there, or not within `connect_timeout_s`.
            Unauthenticated, Forbidden: the broker does not want us.
            RemoteProtocolError: whoever answers is no broker.
        """
        if self._was_entered:
            raise RuntimeError("a client is entered once: make another")
        self._was_entered = True
        from extra.client.link import CODECS, Link, LinkSettings  # websockets takes a while to import

        self._settings = LinkSettings(
            codec=CODECS[self._codec_name],
            connect_timeout_s=self._connect_timeout_s,
            close_timeout_s=CLOSE_TIMEOUT_S,
            ping_interval_s=self._ping_interval_s,
            ping_timeout_s=self._ping_timeout_s,
            frame_limit_bytes=self._frame_limit_bytes,
            headers=self._headers,
            ssl_context=self._ssl_context,
        )
        self._first_link = link = await Link.open(self._address, self._settings)
        await self._tasks.__aenter__()
        self._is_open = self.is_connected = True
        self._runner = self._tasks.create_task(self._run(link), name=f"extra client of {self._address.url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection, within 2 seconds. Publishing raises BrokerClosed, iterations end."""
        assert self._runner is not None
        assert self._first_link is not None
        self._shut()
        self._runner.cancel()
        try:
            if isinstance(error, asyncio.CancelledError):
                await self._tasks.__aexit__(kind, error, traceback)
            else:  # the group would wrap it
                await self._tasks.__aexit__(None, None, None)
        finally:
            self.is_connected = False
            await self._first_link.close()  # a task that is cancelled before it begins closes nothing

    @property
    def set_aside(self) -> int:
        """How often a subscription was taken off the connection until its consumer had caught up."""
        return self._subscriptions.set_aside_total

    async def publish(
        self,
        topic: str,
        data: object,
        *,
        retain: bool = False,
        ttl: float | None = None,
        key: str | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        if_last: int | None = None,
        close: bool | None = None,
        deliver_at: float | None = None,
    ) -> Receipt:
        """Publish a value: bytes as they are, a string as text, anything else as JSON.

        Waits for the receipt, across lost connections if need be; the caller's `asyncio.timeout` gives it up.
        What was sent and not answered is sent again with the same idempotency key, `key` or one made here:
        the broker publishes it once, as long as the connection is not lost for longer than it remembers keys
        (two minutes). When cancelled, it may have been published. With `if_last` it is published if the last
        message of the topic has this offset; 0 is for a topic that has none yet. With `close=True` it is the
        last message of its topic; one with `close=False` opens that anew. With `deliver_at`
        the broker publishes it then (`ttl` counts from there), and the receipt has its id.

        Raises:
            PreconditionFailed: another message is the last one; its `offset` tells which.
            InvalidTopic: not a topic, or one that starts with `$`.
            InvalidPayload: `data` cannot be written as JSON, or is not what `content_type` says.
            InvalidCommand: another argument is not what it should be.
            TopicClosed: the topic has had its last message.
            LimitExceeded: something is more than a limit of the broker.
            EngineUnavailable: the log cannot be written just now.
            BrokerClosed: the client is not open.
            TypeError: an argument is not of its type.
        """
        settings = self._require_open()
        check_publication(topic, retain, ttl, key, content_type, headers, if_last, close, deliver_at)
        check_topic(topic)
        message = compose(topic, data, content_type=content_type, headers=headers)
        identifier = next(self._numbers)
        publish = Publish(
            topic=topic,
            payload=message.payload,
            kind=message.kind,
            id=identifier,
            retain=retain,
            ttl=ttl,
            key=key if key is not None else f"{self._key_prefix}-{identifier}",
            content_type=content_type,
            headers=headers,
            if_last=if_last,
            close=close,
            deliver_at=deliver_at,
        )
        try:
            command = settings.codec.encode(publish)
        except UnicodeEncodeError as error:
            raise InvalidCommand(f"key or headers cannot be written as UTF-8: {error.reason}") from None
        return await self._publications.publish(identifier, command)

    @overload
    def subscribe(
        self,
        *filters: str,
        since: str = "now",
        overflow: str | None = None,
        retained: bool | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        presence: object = None,
        member: str | None = None,
        session: None = None,
        ack: None = None,
        expires: None = None,
    ) -> Messages: ...

    @overload
    def subscribe(
        self,
        *filters: str,
        since: str = "now",
        overflow: str | None = None,
        retained: bool | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        presence: object = None,
        member: str | None = None,
        session: str,
        ack: bool | None = None,
        expires: float | None = None,
    ) -> SessionMessages: ...

    def subscribe(
        self,
        *filters: str,
        since: str = "now",
        overflow: str | None = None,
        retained: bool | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        presence: object = None,
        member: str | None = None,
        session: str | None = None,
        ack: bool | None = None,
        expires: float | None = None,
    ) -> Messages | SessionMessages:
        """Return the messages that any of `filters` matches, as an async context manager and iterator.

        `since` is a cursor, "start", "now" or "last:N"; `retained` (default: with "now") brings the retained
        messages first. A subscriber that does not keep up goes back to the log under `overflow="disconnect"`,
        and loses what the log no longer has; "drop-oldest" and "latest" drop from what is buffered, and when
        all subscriptions of the client say the same, from what the broker has buffered for it. With None the
        policy of the broker says what is dropped there, and nothing is dropped here. Either way `on_gap` is
        called in order; see `Messages` for what happens without one. With `presence` the subscriber is a
        member of the topics that it subscribes to, which are no filters then, and shows this value (True:
        nothing); with the same `member` again it is the same one, else under an id made here.

        With a `session` the broker keeps the position, over a connection of its own: it goes on where whoever
        had this name stood, and `since` is for a new one. With `ack` that is where `ack` has come to, without
        it what the iteration has gone past. The broker lets go of it after `expires` seconds without anybody.

        Raises:
            TypeError: an argument is not of its type; InvalidCommand: there is no filter, or arguments do not
                go together.

        Raises, on entering:
            InvalidFilter, InvalidCursor, InvalidCommand (an unknown `overflow`), LimitExceeded, BrokerClosed.
        """
        check_subscription(filters, since, overflow, retained)
        if presence is None or presence is False:
            if member is not None:
                raise InvalidCommand("member: only with presence")
        else:
            member = member if member is not None else uuid.uuid4().hex
            check_presence(list(filters), member)
            encode_shown(presence, self._queue_limit_bytes)
        if session is None and (ack is not None or expires is not None):
            raise InvalidCommand("ack and expires: only with session")
        if session is not None:
            command = Subscribe(
                filter=list(filters),
                id=JOIN,
                since=since,
                overflow=cast("Overflow | None", overflow),  # the broker checks it
                retained=retained,
                presence=presence or None,
                member=member,
                session=session,
                ack=True,  # what the iteration has not gone past comes again when the connection is lost
                expires=expires,
            )
            return SessionMessages(self._place(), command, on_gap, acknowledges=ack is True)

        def enter() -> Subscription:
            self._require_open()
            subscription = Subscription(filters, since, overflow, retained, self._queue_limit_bytes)
            subscription.presence, subscription.member = presence, member
            self._subscriptions.add(subscription)
            return subscription

        return Messages(enter, self._taken, self._subscriptions.remove, filters, overflow, on_gap)

    def group(
        self,
        name: str,
        *filters: str,
        since: str = "now",
        member: str | None = None,
        ack_wait: float | None = None,
        max_unacknowledged: int | None = None,
        max_deliveries: int | None = None,
        dead_letters: str | None = None,
        order: str | None = None,
        expires: float | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Share:
        """Return a member's share of what a group reads, as an async context manager and iterator.

        Arguments and errors are those of `Broker.group`. The share has a connection of its own; when that is
        lost, what it held goes to other members, and it joins again: as the same `member` if that is given,
        and else as a new one. Another that comes as the same one takes its place, and this one raises
        SessionTakenOver.
        """
        check_subscription(filters, since, None, None)
        check_group(name, member, ack_wait, max_unacknowledged, max_deliveries, dead_letters, order, expires)
        options = GroupOptions(ack_wait, max_unacknowledged, max_deliveries, dead_letters, order, expires)
        return Share(self._place(), name, list(filters), since, member, options, on_gap)

    def _place(self) -> Place:
        return Place(
            self._address,
            self._require_open,
            self._tasks,
            self._surroundings,
            self._backoff.anew,
            self._streams,
            self._asking.call,
            self._queue_limit_bytes,
        )

    async def present(self, *filters: str, limit: int = 1000) -> PresencePage:
        """Return who is present at topics that any of `filters` matches: `limit` members at most.

        This is a request of its own over HTTP. Raises as `history` does.
        """
        check_history(filters, "start", limit, None)
        self._require_open()
        for topic_filter in filters:
            check_filter(topic_filter)
        return await self._asking.present(filters, limit)

    async def history(
        self, *filters: str, since: str = "start", limit: int = 1000, retained: bool | None = None
    ) -> Page:
        """Read what the log has after `since`, at most `limit` messages; retained ones come first, if wanted.

        This is a request of its own over HTTP. `request_timeout_s` bounds each wait for the network.

        Raises:
            InvalidFilter, InvalidCursor, InvalidCommand (`limit` is not from 1 to 10,000), LimitExceeded,
            BrokerClosed; TimeoutError; TypeError: an argument is not of its type.
        """
        check_history(filters, since, limit, retained)
        self._require_open()
        for topic_filter in filters:
            check_filter(topic_filter)
        parse_since(since)
        return await self._asking.history(filters, since, limit, retained)

    async def clear(self, topic: str) -> None:
        """Let go of what a topic retains, if it does. A request of its own, as for `history`.

        Raises:
            InvalidTopic, BrokerClosed, EngineUnavailable; TimeoutError; TypeError.
        """
        check_publication(topic, False, None, None, None, None)
        self._require_open()
        await self._asking.clear(topic)

    async def scheduled(self, *, after: str = "", limit: int = 1000) -> ScheduledPage:
        """Return what is to be published later, in that order: at most `limit` messages.

        `after` is that of the page before. A request of its own, as for `history`.

        Raises:
            InvalidCommand: `after` or `limit` (1 to 10,000) is not one.
            BrokerClosed; TimeoutError; TypeError.
        """
        check_scheduled(after, limit)
        self._require_open()
        return await self._asking.scheduled(after, limit)

    async def cancel(self, scheduled: str) -> bool:
        """Take back what is to be published later, by its id; return whether it was there.

        A request of its own, as for `history`.

        Raises:
            EngineUnavailable: that cannot be kept just now: it stays scheduled. BrokerClosed; TimeoutError.
        """
        self._require_open()
        return await self._asking.cancel(scheduled)

    # The connection

    async def _run(self, link: "Link") -> None:
        """Serve one connection after the other. Ends by being cancelled."""
        try:
            while True:
                ending = await self._serve(link)
                link = await self._reconnect(ending)
        finally:
            self._shut()

    async def _serve(self, link: "Link") -> "_Ending":
        """Serve a connection until it is over. Cancel-safe: it is closed then."""
        began_at = self._clock()
        self._subscriptions.connected(link.welcome.epoch, link.welcome.cursor)
        self._work.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(link))
                ending = await self._read_pushes(link)
                writer.cancel()
        finally:
            self.is_connected = False
            self._subscriptions.lost()
            self._publications.lost()
            await link.close()
        if self._clock() - began_at >= STABLE_S:
            self._backoff.reset()
        self.slow_goodbyes += ending.is_slow
        return ending

    async def _reconnect(self, ending: "_Ending") -> "Link":
        """Connect again, however often it takes."""
        from extra.client.link import Link

        logger.warning("lost the connection to %s: %s", self._address.url, ending.reason)
        settings = self._settings
        assert settings is not None
        delay = ending.reconnect_after_s
        if delay is None:
            is_at_once = ending.is_slow and self._backoff.is_fresh
            delay = self._backoff.next_delay()
            if is_at_once:
                delay = 0.0
        while True:
            await self._sleep(delay)
            try:
                link = await Link.open(self._address, settings)
            except ExtraError as error:
                logger.debug("cannot connect to %s: %s", self._address.url, error)
                delay = self._backoff.next_delay()
            else:
                self.is_connected = True
                self.reconnections += 1
                logger.info("connected to %s again", self._address.url)
                return link

    async def _read_pushes(self, link: "Link") -> "_Ending":
        try:
            while (pushes := await link.receive()) is not None:
                for push in pushes:
                    if isinstance(push, Goodbye):
                        return _ending_of(push)
                    self._receive(push)
                await self._let_consumers_take()
        except ExtraError as error:
            return _Ending(str(error))
        if link.close_code == 1009:  # RFC 6455 7.4.1; sent again, it would end the next connection as well
            reason = f"the broker takes no frame so large (websocket.frame_limit_bytes): {link.ending}"
            self._publications.refuse_largest(LimitExceeded(reason))
        return _Ending(link.ending)

    async def _write(self, link: "Link") -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            for group in self._subscriptions.groups_to_send():
                await link.send([link.codec.encode(command) for command in group])
            await link.send(self._publications.commands_to_send())

    def _receive(self, push: Push) -> None:
        """Hand a push to whom it is for.

        Raises:
            ExtraError: the connection is of no use any more.
        """
        if isinstance(push, Published) and isinstance(push.id, int):
            receipt = Receipt(push.topic, push.offset, push.cursor, push.subscribers)
            self._publications.answer(push.id, receipt)
        elif isinstance(push, ScheduledPush) and isinstance(push.id, int):
            scheduled = Receipt(push.topic, 0, "", 0, push.scheduled, push.deliver_at)
            self._publications.answer(push.id, scheduled)
        elif isinstance(push, ErrorPush) and isinstance(push.id, int):
            error = error_from_code(push.code, push.message, push.offset, push.cursor)
            if isinstance(error, BrokerClosed):
                raise error  # the next connection may have more luck
            self._publications.answer(push.id, error)
        elif not self._subscriptions.receive(push) and isinstance(push, ErrorPush):
            logger.error("the broker at %s reports %s: %s", self._address.url, push.code, push.message)

    async def _let_consumers_take(self) -> None:
        """Give the other tasks a turn when an inbox fills, and a replay's consumer time to take it."""
        subscriptions = self._subscriptions
        if not subscriptions.is_filling:
            return
        subscriptions.is_filling = False
        await asyncio.sleep(0)
        crowded = subscriptions.crowded
        if crowded is None:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                while subscriptions.crowded is not None and not self._publications:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            if subscriptions.crowded is crowded:
                subscriptions.set_aside(crowded)

    def _taken(self, subscription: Subscription) -> None:
        self._subscriptions.taken(subscription)
        self._room.set()

    def _wake(self) -> None:
        self._work.set()
        self._room.set()

    def _shut(self) -> None:
        self._is_open = False
        self._subscriptions.close()
        for stream in list(self._streams):
            stream.close()
        self._publications.close()

    def _require_open(self) -> "LinkSettings":
        if not self._is_open or self._settings is None:
            raise BrokerClosed("the client is not open: async with Client(...) as broker")
        return self._settings


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a connection ended, and how long to wait before the next one; None leaves that to the back-off.

    Who was slow has lost nothing and resumes at once, unless that has not helped just before.
    """

    reason: str
    reconnect_after_s: float | None = None
    is_slow: bool = False


def _ending_of(goodbye: Goodbye) -> _Ending:
    reason = f"goodbye ({goodbye.reason})"
    if goodbye.reason == "slow":
        return _Ending(reason, is_slow=True)
    return _Ending(reason, max(0.0, goodbye.reconnect_after))
