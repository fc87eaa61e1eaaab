"""Methods that react to messages: `@on(TOPIC="rooms/{room}/+")`, and to who comes and goes: JOIN and LEAVE.

A subscription for each, and a task that calls the method for one message after another, in offset order. A
method that takes longer than messages come falls behind in its own outbox, and from there in the log: it
costs nobody else, and what the log has lost by then is told as a gap, in the application's log.
"""

import inspect
import logging
from asyncio import TaskGroup
from collections.abc import Callable, Mapping
from typing import Any, Final

from extra.pubsub import Broker, Gap, Message, Messages
from extra.services.arguments import ByName, InvalidArguments, Signature
from extra.services.declarations import Declarations, Declared
from extra.services.limits import LimitPassed, within
from extra.services.threads import Threads
from extra.services.topics import TopicPattern

__all__ = ["PRESENCE", "PresenceReaction", "Reaction"]

logger = logging.getLogger("extra.services")

PRESENCE: Final = "$presence/"
"""Behind this stands the topic that a message of the broker's tells of."""


class Reaction:
    """One method of a service, for the messages of one pattern. `name` is how the log calls it."""

    given: Mapping[str, type] = {"message": Message}
    """What the method may have, by its usual names and types."""

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
        self.name = f"{declared.kind} {declared.place} ({method.__qualname__})"
        self._kind = declared.kind
        self._method = method
        self._pattern = pattern
        self._signature = Signature(method, self.given, pattern.kinds, others=None)
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
            if values is not None and self.is_for(message):
                await self.call(message, values)

    def is_for(self, message: Message) -> bool:
        """Return whether the method is called for a message of its topics."""
        return True

    def things_of(self, message: Message) -> Mapping[str, object]:
        """Return what the method may have of a message, by its usual name."""
        return {"message": message}

    async def call(self, message: Message, values: dict[str, object]) -> None:
        """Call the method. What goes wrong is logged."""
        try:
            await within(self._timeout_s, self._call(message, values))
        except LimitPassed:
            logger.warning("%s: not done within timeout_s=%g: cancelled", self.name, self._timeout_s)
        except InvalidArguments as error:
            logger.warning("%s: message at offset %d: %s", self.name, message.offset, error)
        except Exception:
            logger.exception("%s has failed at offset %d", self.name, message.offset)

    async def _call(self, message: Message, values: dict[str, object]) -> None:
        things = self.things_of(message)
        arguments: dict[str, Any] = {name: things[usual] for name, usual in self._signature.given.items()}
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


class PresenceReaction(Reaction):
    """One method of a service, for who comes to topics of one pattern (`JOIN`), or leaves them (`LEAVE`).

    They are told of as messages, by the broker, on topics that begin with `PRESENCE`.
    """

    given: Mapping[str, type] = {"message": Message, "member": ByName, "data": ByName, "count": ByName}

    def is_for(self, message: Message) -> bool:
        told = message.data
        return isinstance(told, dict) and told.get("event") == self._kind.lower()

    def things_of(self, message: Message) -> Mapping[str, object]:
        told = message.data
        assert isinstance(told, dict), "asked for before"
        return {"data": None, **told, "message": message}
