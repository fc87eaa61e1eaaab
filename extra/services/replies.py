"""Requests over topics: `@on(REQUEST="rpc/add")` answers them, and `Service.ask` makes them.

A request is a message with two headers, `reply-to` and `correlation-id`; the reply is a message to the one
topic with the other, and with `error`, a code, if it is one: then the payload says why. Any client that can
publish and subscribe can do either.

`reply-to` has to begin with `replies/`: whoever asks chooses where the answer goes, and shall not choose
topics that are for something else.
"""

import asyncio
import inspect
import logging
from asyncio import Future, TaskGroup
from collections.abc import Callable
from secrets import token_hex
from typing import Any, ClassVar, Final

from extra.errors import ExtraError, LimitExceeded
from extra.http import HTTPError, ServiceUnavailable
from extra.pubsub import Broker, Gap, Message, Messages
from extra.services.arguments import InvalidArguments, Signature
from extra.services.declarations import Declarations, Declared
from extra.services.limits import LimitPassed, ServiceLimits, TimedOut, within
from extra.services.threads import Threads
from extra.services.topics import TopicPattern

__all__ = ["Asker", "NobodyServes", "Replier", "RequestFailed"]

logger = logging.getLogger("extra.services")

REPLIES: Final = "replies/"
REPLY_TO: Final = "reply-to"
CORRELATION: Final = "correlation-id"
ERROR: Final = "error"

INTERNAL: Final = "internal error"
"""What is told of a failure that is none of whoever asks."""


class NobodyServes(ServiceUnavailable):
    """Nobody is subscribed to the topic of a request."""

    code = "nobody_serves"


class RequestFailed(HTTPError):
    """Who serves has answered with an error. `reason` is its code."""

    code: ClassVar[str] = "request_failed"
    status = 502

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message or reason, reason=reason)
        self.reason = reason


class Asker:
    """Makes requests, and hands out the replies, which all come to one topic."""

    def __init__(self, broker: Broker, tasks: TaskGroup, limits: ServiceLimits) -> None:
        self._broker = broker
        self._tasks = tasks
        self._limits = limits
        self._topic = f"{REPLIES}{token_hex(16)}"
        self._messages: Messages | None = None
        self._starting = asyncio.Lock()
        self._number = 0
        self._waiting: dict[str, Future[Message]] = {}

    async def ask(self, topic: str, data: object, timeout_s: float) -> Message:
        """Publish a request, and return the reply; see `Service.ask`."""
        if len(self._waiting) >= self._limits.asking_limit:
            raise LimitExceeded(
                f"more requests without a reply than asking_limit={self._limits.asking_limit}"
            )
        async with self._starting:
            if self._messages is None:
                messages = self._broker.subscribe(self._topic, retained=False, on_gap=_ignore)
                self._messages = await messages.__aenter__()
                self._tasks.create_task(self._hand_out(messages))
        self._number += 1
        name = str(self._number)
        reply: Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[name] = reply
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                headers = {REPLY_TO: self._topic, CORRELATION: name}
                receipt = await self._broker.publish(topic, data, ttl=timeout_s, headers=headers)
                if not receipt.subscribers:
                    raise NobodyServes(f"nobody serves {topic[:80]!r}")
                message = await reply
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(f"no reply from {topic[:80]!r} within timeout_s={timeout_s:g}") from None
        finally:
            del self._waiting[name]
        headers = message.headers or {}
        if ERROR in headers:
            raise RequestFailed(headers[ERROR], str(message.data) if message.kind == "text" else "")
        return message

    async def stop(self) -> None:
        """Receive no more replies."""
        messages, self._messages = self._messages, None
        if messages is not None:
            await messages.__aexit__(None, None, None)

    async def _hand_out(self, messages: Messages) -> None:
        async for message in messages:
            waiting = self._waiting.get((message.headers or {}).get(CORRELATION, ""))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)


class Replier:
    """One method of a service, for the requests of one pattern. `name` is how the log calls it."""

    def __init__(
        self,
        method: Callable[..., object],
        declared: Declared,
        declarations: Declarations,
        pattern: TopicPattern,
        *,
        threads: Threads,
        limits: ServiceLimits,
    ) -> None:
        """Read the signature of `method`. Raises TypeError as `Signature` does."""
        self.name = f"REQUEST {pattern.text} ({method.__qualname__})"
        self._method = method
        self._pattern = pattern
        self._signature = Signature(method, {"message": Message}, pattern.kinds, others=object)
        self._threads = threads
        self._timeout_s = limits.timeout_s if declared.timeout_s is None else declared.timeout_s
        self._room = asyncio.Semaphore(limits.requests_limit)
        self._in_thread = not (inspect.iscoroutinefunction(method) or declarations.quick)
        self._messages: Messages | None = None

    async def start(self, broker: Broker, tasks: TaskGroup, since: str = "now") -> None:
        """Subscribe: requests are answered from here on, or since a cursor."""
        messages = broker.subscribe(self._pattern.filter, since=since, retained=False, on_gap=self._tell)
        self._messages = await messages.__aenter__()
        tasks.create_task(self._serve(messages, broker, tasks))

    async def stop(self) -> str:
        """Take no more requests, and return the cursor behind the last one; as `Reaction.stop` does."""
        messages, self._messages = self._messages, None
        if messages is None:
            return "now"
        cursor = messages.cursor
        await messages.__aexit__(None, None, None)
        return cursor

    async def _serve(self, messages: Messages, broker: Broker, tasks: TaskGroup) -> None:
        """Answer each request in a task of its own, so many at one time."""
        async for message in messages:
            values = self._pattern.values_of(message.topic)
            if values is not None:
                await self._room.acquire()
                tasks.create_task(self._reply(message, values, broker))

    async def _reply(self, message: Message, values: dict[str, object], broker: Broker) -> None:
        try:
            answer, error = await self._answer(message, values)
            headers = message.headers or {}
            topic = headers.get(REPLY_TO, "")
            if not topic.startswith(REPLIES):
                return  # nobody waits for it
            reply = {CORRELATION: headers.get(CORRELATION, "")}
            if error:
                reply[ERROR] = error
            try:
                await broker.publish(topic, answer, headers=reply)
            except ExtraError as refused:
                logger.warning("%s: the reply cannot be published: %s", self.name, refused)
                await broker.publish(topic, INTERNAL, headers={**reply, ERROR: ExtraError.code})
        except ExtraError as refused:
            logger.warning("%s: nobody can be told that it has failed: %s", self.name, refused)
        finally:
            self._room.release()

    async def _answer(self, message: Message, values: dict[str, object]) -> tuple[object, str]:
        """Return what to reply, and the code if it is an error."""
        try:
            return await within(self._timeout_s, self._call(message, values)), ""
        except LimitPassed as error:
            logger.warning("%s: no reply within timeout_s=%g: cancelled", self.name, self._timeout_s)
            return str(error), error.code
        except ExtraError as error:
            return str(error), error.code
        except Exception:
            logger.exception("%s has failed at offset %d", self.name, message.offset)
            return INTERNAL, ExtraError.code

    async def _call(self, message: Message, values: dict[str, object]) -> object:
        signature = self._signature
        arguments: dict[str, Any] = dict.fromkeys(signature.given, message)
        errors: list[dict[str, str]] = []
        signature.take_captured(values, "topic", arguments, errors)
        if signature.others:
            members = message.data if message.kind == "json" else None
            signature.take_members(members if isinstance(members, dict) else {}, arguments, errors)
        if errors:
            raise InvalidArguments(errors)
        if self._in_thread:
            value = await self._threads.run(self._method, **arguments)
        else:
            value = self._method(**arguments)
        return await value if inspect.isawaitable(value) else value

    def _tell(self, gap: Gap) -> None:
        logger.warning("%s: requests up to offset %d are missing (%s)", self.name, gap.until, gap.reason)


def _ignore(gap: Gap) -> None:
    """A reply that is missing is one that does not come."""
