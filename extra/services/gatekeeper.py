"""Methods that decide who may publish and subscribe: `@on(PUBLISH="rooms/{room}")`, `@on(SUBSCRIBE=...)`.

The faces of the application's broker ask them (`extra.pubsub.gates`); what services do themselves passes by.
A method for PUBLISH is asked about each message on a topic that its pattern matches, one for SUBSCRIBE about
each filter that could bring a message of such a topic: somebody who asks for `#` is asked about by all. All
that are asked have to allow it. What fails, or takes too long, has not allowed it.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any

from extra.errors import ExtraError, Forbidden, LocalProtocolError
from extra.http import Request
from extra.pubsub import Message
from extra.pubsub.gates import Gate
from extra.services.arguments import ByName, InvalidArguments, Signature
from extra.services.declarations import Declarations, Declared
from extra.services.limits import LimitPassed, within
from extra.services.reactions import PRESENCE
from extra.services.threads import Threads
from extra.services.topics import TopicPattern
from extra.topics import FilterTree, overlap

__all__ = ["Gatekeeper", "Rule"]

logger = logging.getLogger("extra.services")


class Rule:
    """One method of a service, for the topics of one pattern. `name` is how the log calls it."""

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
        self.name = f"{declared.kind} {pattern.text} ({method.__qualname__})"
        self.pattern = pattern
        self.priority = declared.priority
        given: dict[str, type] = {"message": Message} if declared.kind == "PUBLISH" else {"filter": ByName}
        self._signature = Signature(method, {**given, "request": Request}, pattern.kinds, others=None)
        self._method = method
        self._threads = threads
        self._timeout_s = usual_timeout_s if declared.timeout_s is None else declared.timeout_s
        self._in_thread = not (inspect.iscoroutinefunction(method) or declarations.quick)

    async def ask(self, values: dict[str, object], given: dict[str, object]) -> object:
        """Return what the method says.

        Raises:
            ExtraError: what it refuses with, or that it has failed.
        """
        try:
            return await within(self._timeout_s, self._call(values, given))
        except LimitPassed:
            logger.warning("%s: no answer within timeout_s=%g: refused", self.name, self._timeout_s)
            raise
        except Exception as error:
            if isinstance(error, ExtraError) and not isinstance(error, LocalProtocolError):
                raise
            logger.exception("%s has failed: refused", self.name)
            raise self.failure() from None

    def failure(self) -> ExtraError:
        """Return what who asks is told when the method is at fault."""
        return ExtraError("internal error: whether this is allowed could not be found out")

    async def _call(self, values: dict[str, object], given: dict[str, object]) -> object:
        signature = self._signature
        arguments: dict[str, Any] = {name: given[usual] for name, usual in signature.given.items()}
        if any(value is None for value in arguments.values()):
            raise Forbidden("it is not known any more who has opened this connection: open another one")
        errors: list[dict[str, str]] = []
        signature.take_captured(values, "topic", arguments, errors)
        if errors:
            raise InvalidArguments(errors)
        if self._in_thread:
            value = await self._threads.run(self._method, **arguments)
        else:
            value = self._method(**arguments)
        return await value if inspect.isawaitable(value) else value


class Gatekeeper(Gate):
    """All such methods of an application."""

    def __init__(self) -> None:
        self._publishing: FilterTree[int] = FilterTree()
        self._publishers: list[Rule] = []
        self._subscribers: list[Rule] = []

    def __bool__(self) -> bool:
        return bool(self._publishers or self._subscribers)

    def add(self, kind: str, rule: Rule) -> None:
        """Have `rule` asked, behind those of higher or the same priority."""
        if kind == "SUBSCRIBE":
            self._subscribers.append(rule)
            self._subscribers.sort(key=lambda each: -each.priority)
        else:
            self._publishing.add(rule.pattern.filter, len(self._publishers))
            self._publishers.append(rule)

    def guards(self, topic: str) -> bool:
        return bool(self._publishing.match(topic))

    async def publishing(self, message: Message, origin: object) -> Message:
        numbers = self._publishing.match(message.topic)
        rules = [self._publishers[number] for number in sorted(numbers)]
        for rule in sorted(rules, key=lambda each: -each.priority):
            values = rule.pattern.values_of(message.topic)
            if values is None:
                continue
            said = await rule.ask(values, {"message": message, "request": origin})
            if said is False:
                raise Forbidden(f"publishing to {message.topic[:80]!r} is not allowed")
            if isinstance(said, Message) and said.topic == message.topic:
                message = said
            elif said is not None and said is not True:
                what = f"{said!r:.80}: None, a bool, or a Message on the same topic"
                logger.error("%s has returned %s: refused", rule.name, what)
                raise rule.failure()
        return message

    async def subscribing(self, topic_filter: str, origin: object) -> list[str]:
        filters = [topic_filter]
        for rule in self._subscribers:
            admitted: list[str] = []
            for each in filters:
                admitted += await self._admit(rule, each, origin)
            filters = admitted
        return filters

    async def _admit(self, rule: Rule, topic_filter: str, origin: object) -> list[str]:
        """Return what a rule makes of a filter: itself, if it is nothing that the rule is about.

        Who is at a topic concerns those that decide about the topic.
        """
        prefix, place = "", topic_filter
        if not overlap(rule.pattern.filter, topic_filter):
            if not topic_filter.startswith(PRESENCE):
                return [topic_filter]
            prefix, place = PRESENCE, topic_filter.removeprefix(PRESENCE)
            if not place or not overlap(rule.pattern.filter, place):
                return [topic_filter]
        values = rule.pattern.values_of_filter(place)
        if values is None:
            return [topic_filter]
        said = await rule.ask(values, {"filter": topic_filter, "request": origin})
        if said is None or said is True:
            return [topic_filter]
        if said is False or said == []:
            raise Forbidden(f"subscribing to {topic_filter[:80]!r} is not allowed")
        others = [said] if isinstance(said, str) else said
        if not isinstance(others, (list, tuple)) or not all(isinstance(each, str) for each in others):
            what = f"{said!r:.80}: None, a bool, a topic filter or a list of them"
            logger.error("%s has returned %s: refused", rule.name, what)
            raise rule.failure()
        return [each if each.startswith(prefix) else prefix + each for each in others]
