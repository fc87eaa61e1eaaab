"""`extra-broker pub`: publishes one message, or each line of standard input.

Lines are published in order, as they come. Only so many are under way at once: a broker that is slow is felt
by whoever writes to this program.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol, final

from broker.commands.connecting import URL_OPTION, make_client
from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.streams import read_lines, warn, write_out
from extra.errors import ExtraError, InvalidCommand, InvalidTopic
from extra.payloads import USUAL_CONTENT_TYPE
from extra.protocols.payloads import sniff
from extra.pubsub.arguments import TTL_LEAST_S, TTL_MOST_S, check_ttl
from extra.topics import check_topic

__all__ = ["Publication", "Publisher", "publish_lines", "run"]

IN_FLIGHT_LIMIT_MESSAGES: Final = 256
IN_FLIGHT_LIMIT_BYTES: Final = 4 * 1024 * 1024

JSON_OPTION: Final = Option("--json", "", "every payload is JSON, and refused if it is not")
TEXT_OPTION: Final = Option("--text", "", "every payload is text, also what looks like JSON")
CONTENT_TYPE_OPTION: Final = Option("--content-type", "TYPE", "every payload is of this type")
OPTIONS: Final = (
    URL_OPTION,
    Option("--retain", "", "keep as the topic's retained message, for those who come later"),
    Option("--ttl", "SECONDS", "give it to nobody any more after so long"),
    JSON_OPTION,
    TEXT_OPTION,
    CONTENT_TYPE_OPTION,
    HELP_OPTION,
)

HELP: Final = """\
Usage: extra-broker pub TOPIC [DATA|-] [OPTIONS]

Publish DATA to TOPIC; without DATA, or with -, each line of standard input, as it comes. What
parses as JSON is published as JSON, other UTF-8 as text, and the rest as bytes.

Options
{options}

Exit status
  0  all was published, and the broker has acknowledged it
  1  the broker cannot be reached, or has refused something: standard error says what
  2  called wrongly
  128 and the number of the signal that ended it: 130 for Ctrl-C

Examples
  extra-broker pub site/kitchen/temp '{{"celsius": 21}}'
  tail -f app.log | extra-broker pub logs/app --text
"""


class Publisher(Protocol):
    """What of a client is used here."""

    async def publish(
        self, topic: str, data: object, *, retain: bool, ttl: float | None, content_type: str
    ) -> object: ...


@final
@dataclass(frozen=True, slots=True)
class Publication:
    """Where payloads go and how. `content_type` None: each payload speaks for itself."""

    topic: str
    retain: bool
    ttl: float | None
    content_type: str | None

    async def send(self, publisher: Publisher, payload: bytes) -> None:
        """Publish one payload; returns when it is acknowledged."""
        content_type = self.content_type or USUAL_CONTENT_TYPE[sniff(payload)]
        await publisher.publish(
            self.topic, payload, retain=self.retain, ttl=self.ttl, content_type=content_type
        )


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: standard input cannot be read.
    """
    given, arguments = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if not 1 <= len(arguments) <= 2:
        raise UsageError(f"pub takes TOPIC [DATA|-], not {len(arguments)} arguments")
    topic, data = arguments[0], arguments[1] if len(arguments) == 2 else "-"
    try:
        check_topic(topic)
    except InvalidTopic as error:
        raise UsageError(str(error)) from None
    publication = Publication(topic, "--retain" in options, _ttl_of(options), _content_type_of(options))
    try:
        return asyncio.run(_publish(options, publication, data))
    except (ExtraError, OSError) as error:
        warn(str(error))
        return 1


async def publish_lines(
    publisher: Publisher, publication: Publication, lines: AsyncGenerator[bytes, None]
) -> bool:
    """Publish each line in order; return whether the broker has acknowledged all of them.

    A line that is refused is told on standard error, and the next one goes on. Reads on only while less than
    `IN_FLIGHT_LIMIT_MESSAGES` and `IN_FLIGHT_LIMIT_BYTES` are not acknowledged.

    Raises:
        ExtraError, OSError: the broker cannot be reached (any more).
        StreamError: the lines cannot be read.
    """
    failures = 0
    under_way = _Window()

    async def publish(number: int, line: bytes) -> None:
        nonlocal failures
        try:
            await publication.send(publisher, line)
        except ExtraError as error:
            if not error.connection_survives:
                raise
            failures += 1
            warn(f"line {number}: {error}")
        finally:
            under_way.leave(len(line))

    try:
        async with asyncio.TaskGroup() as tasks, aclosing(lines):
            number = 0
            async for line in lines:
                number += 1
                await under_way.enter(len(line))
                tasks.create_task(publish(number, line))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # one says it: the others fail of the same cause
    return failures == 0


@final
class _Window:
    """Bounds what is under way, in number and bytes; what is larger goes alone. For one task to enter."""

    def __init__(self) -> None:
        self._count = 0
        self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room. Cancel-safe: nothing has entered then."""
        while not self._has_room(size):
            self._left.clear()
            await self._left.wait()
        self._count += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self._count -= 1
        self._bytes -= size
        self._left.set()

    def _has_room(self, size: int) -> bool:
        fits = self._count < IN_FLIGHT_LIMIT_MESSAGES and self._bytes + size <= IN_FLIGHT_LIMIT_BYTES
        return fits or self._count == 0


async def _publish(options: Mapping[str, str], publication: Publication, data: str) -> int:
    async with make_client(options) as client:
        if data == "-":
            return 0 if await publish_lines(client, publication, read_lines(sys.stdin)) else 1
        await publication.send(client, os.fsencode(data))
    return 0


def _ttl_of(options: Mapping[str, str]) -> float | None:
    text = options.get("--ttl")
    if text is None:
        return None
    try:
        ttl = float(text)
        check_ttl(ttl)
    except (ValueError, InvalidCommand):
        raise UsageError(
            f"--ttl: {text!r} is not allowed: a number of seconds from {TTL_LEAST_S:g} to {TTL_MOST_S:g}"
        ) from None
    return ttl


def _content_type_of(options: Mapping[str, str]) -> str | None:
    """Return the content type that the options ask for, None when each payload shall speak for itself."""
    given = [
        option.flag for option in (JSON_OPTION, TEXT_OPTION, CONTENT_TYPE_OPTION) if option.flag in options
    ]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other")
    if given == ["--json"]:
        return USUAL_CONTENT_TYPE["json"]
    if given == ["--text"]:
        return USUAL_CONTENT_TYPE["text"]
    return options.get("--content-type")
