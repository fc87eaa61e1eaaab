"""Methods that react to messages: `@on(TOPIC="rooms/{room}/+")`.

A subscription for each, and a task that calls the method for one message after another, in offset order. A
method that takes longer than messages come falls behind in its own outbox, and from there in the log: it
costs nobody else, and what the log has lost by then is told as a gap, in the application's log.
"""

import inspect
import logging
from asyncio import TaskGroup
from collections.abc import Callable
from typing import Any

from extra.pubsub import Broker, Gap, Message, Messages
from extra.services.arguments import InvalidArguments, Signature
from extra.services.declarations import Declarations, Declared
from extra.services.limits import TimedOut, within
from extra.services.threads import Threads
from extra.services.topics import TopicPattern

__all__ = ["Reaction"]

logger = logging.getLogger("extra.services")


class Reaction:
    """One method of a service, for the messages of one pattern. `name` is how the log calls it."""

    def __init__(
        self,
        method: Callable[..., object],
        declared: Declared,
        declarations: Declarations,
        pattern: TopicPattern,
        *,
        threads: Threads,
        usual_timeout_s: float,
    ) -> None:
        """Read the signature of `method`. Raises TypeError as `Signature` does."""
        self.name = f"TOPIC {pattern.text} ({method.__qualname__})"
        self._method = method
        self._pattern = pattern
        self._signature = Signature(method, {"message": Message}, pattern.names, others=False)
        self._threads = threads
        self._timeout_s = usual_timeout_s if declared.timeout_s is None else declared.timeout_s
        self._in_thread = not (inspect.iscoroutinefunction(method) or declarations.quick)
        self._messages: Messages | None = None

    async def start(self, broker: Broker, tasks: TaskGroup, since: str = "now") -> None:
        """Subscribe: the method is called for what is published from here on, or since a cursor."""
        messages = broker.subscribe(self._pattern.filter, since=since, retained=False, on_gap=self._tell)
        self._messages = await messages.__aenter__()
        tasks.create_task(self._react(messages))

    async def stop(self) -> str:
        """Unsubscribe, and return the cursor behind the last message that the method was called for.

        A call that is under way goes on. Returns "now" when it has not started, or has stopped before.
        """
        messages, self._messages = self._messages, None
        if messages is None:
            return "now"
        cursor = messages.cursor
        await messages.__aexit__(None, None, None)
        return cursor

    async def _react(self, messages: Messages) -> None:
        async for message in messages:
            values = self._pattern.values_of(message.topic)
            if values is not None:
                await self.call(message, values)

    async def call(self, message: Message, values: dict[str, object]) -> None:
        """Call the method. What goes wrong is logged."""
        try:
            await within(self._timeout_s, self._call(message, values))
        except TimedOut:
            logger.warning("%s: not done within timeout_s=%g: cancelled", self.name, self._timeout_s)
        except InvalidArguments as error:
            logger.warning("%s: message at offset %d: %s", self.name, message.offset, error)
        except Exception:
            logger.exception("%s has failed at offset %d", self.name, message.offset)

    async def _call(self, message: Message, values: dict[str, object]) -> None:
        arguments: dict[str, Any] = dict.fromkeys(self._signature.given, message)
        errors: list[dict[str, str]] = []
        self._signature.take_captured(values, "topic", arguments, errors)
        if errors:
            raise InvalidArguments(errors)
        if self._in_thread:
            value = await self._threads.run(self._method, **arguments)
        else:
            value = self._method(**arguments)
        if inspect.isawaitable(value):
            await value

    def _tell(self, gap: Gap) -> None:
        logger.warning(
            "%s: messages after offset %s and up to %d are missing (%s)",
            self.name,
            gap.after,
            gap.until,
            gap.reason,
        )
