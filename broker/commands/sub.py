"""`extra-broker sub`: prints messages as they come, one a line.

The client resumes by itself where the connection was lost. While nobody takes the output, it keeps the
connection alive, buffers so much and no more, and asks for the rest when there is room again.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from broker.commands.connecting import URL_OPTION, make_client
from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.sharing import GroupSubscriber, SessionSubscriber
from broker.commands.streams import end_with_reader, warn, write_line, write_out
from extra.errors import ExtraError, InvalidCursor, InvalidFilter
from extra.protocols.envelope import message_json
from extra.pubsub import Gap, Message, describe_gap, parse_since
from extra.pubsub.outbox import OVERFLOW_POLICIES
from extra.topics import check_filter

__all__ = ["Subscriber", "line_of", "print_messages", "run"]

FORMATS: Final = ("json", "data", "raw")
OVERFLOWS: Final = tuple(OVERFLOW_POLICIES)

OPTIONS: Final = (
    URL_OPTION,
    Option("--since", "WHERE", "start, now, last:N or a cursor", "now"),
    Option("--format", "FORMAT", "what is printed of a message: json, data, raw; see below", "json"),
    Option("--count", "N", "end after so many messages"),
    Option("--overflow", "POLICY", f"when this is too slow: {', '.join(OVERFLOWS)}", "disconnect"),
    Option("--group", "NAME", "share the messages with others who name this group"),
    Option("--session", "NAME", "go on where whoever named this session stood"),
    Option("--strict", "", "fail when messages were missed"),
    HELP_OPTION,
)

HELP: Final = """\
Usage: extra-broker sub FILTER... [OPTIONS]

Print the messages that match any FILTER as they come, each on a line that is written at once. In a
filter + is any one level, and # at the end the rest. A connection that is lost is made again, and
goes on where it was. Messages that can no longer be had are told of as a gap on standard error.

Options
{options}

With --group each message goes to one of those who share them, and is done when it is printed. With
--session the broker remembers what was printed. --since is for a group or session that is new.

Formats
  json  the message with topic, offset and properties, a JSON object on a line
  data  its payload in JSON, on a line: text as a string, other bytes as a string in base64
  raw   its payload as it is, and a line feed

Exit status
  0  the messages that --count asks for are printed
  1  the broker cannot be reached or refuses, or, with --strict, messages were missed
  2  called wrongly
  128 and the number of the signal that ended it: 130 for Ctrl-C, 141 when nobody reads the output

Examples
  extra-broker sub 'site/+/temp' --format data | jq .celsius
  extra-broker sub '#' --since last:10 --count 10
"""


class Subscriber(Protocol):
    """What of a client is used here."""

    def subscribe(
        self, *filters: str, since: str, overflow: str, on_gap: Callable[[Gap], None]
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]: ...


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: standard output cannot be written.
    """
    given, filters = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if not filters:
        raise UsageError("sub takes FILTER..., at least one")
    since = options.get("--since", "now")
    try:
        for topic_filter in filters:
            check_filter(topic_filter)
        parse_since(since)
    except (InvalidFilter, InvalidCursor) as error:
        raise UsageError(str(error)) from None
    if "--group" in options and ("--session" in options or "--overflow" in options):
        raise UsageError("--group: not together with --session or --overflow")
    form = _choice_of(options, "--format", FORMATS)
    overflow = _choice_of(options, "--overflow", OVERFLOWS)
    count = _count_of(options)
    try:
        was_complete = asyncio.run(_print(options, filters, since, overflow, form, count))
    except (ExtraError, OSError) as error:
        warn(str(error))
        return 1
    return 1 if "--strict" in options and not was_complete else 0


async def print_messages(
    subscriber: Subscriber,
    filters: Sequence[str],
    *,
    since: str = "now",
    overflow: str = "disconnect",
    form: str = "json",
    count: int | None = None,
) -> bool:
    """Print messages, `count` of them or until the subscription ends. Return whether none was missed.

    Raises:
        ExtraError, OSError: the broker cannot be reached, or refuses.
        StreamError: standard output cannot be written.
    """
    was_complete = True

    def tell(gap: Gap) -> None:
        nonlocal was_complete
        was_complete = False
        warn(f"gap: {describe_gap(gap)}")

    async with subscriber.subscribe(*filters, since=since, overflow=overflow, on_gap=tell) as messages:
        printed = 0
        async for message in messages:
            await write_line(line_of(message, form))
            printed += 1
            if printed == count:
                break
    return was_complete


def line_of(message: Message, form: str) -> bytes:
    """Return what is printed of a message, the line feed included."""
    if form == "raw":
        line = message.payload
    elif form == "json":
        line = message_json(
            message.topic,
            message.offset,
            message.payload,
            message.kind,
            message.content_type,
            message.headers,
            message.expires_at,
            message.retained,
        )
    elif message.kind == "json":  # its line breaks stand between tokens
        line = message.payload.replace(b"\r", b" ").replace(b"\n", b" ")
    elif message.kind == "text":
        line = json.dumps(message.payload.decode(), ensure_ascii=False).encode()
    else:
        line = b'"' + b64encode(message.payload) + b'"'
    return line + b"\n"


async def _print(
    options: Mapping[str, str],
    filters: Sequence[str],
    since: str,
    overflow: str,
    form: str,
    count: int | None,
) -> bool:
    end_with_reader()
    async with make_client(options) as client:
        subscriber: Subscriber = client
        if "--session" in options:
            subscriber = SessionSubscriber(client, options["--session"])
        elif "--group" in options:
            subscriber = GroupSubscriber(client, options["--group"])
        return await print_messages(
            subscriber, filters, since=since, overflow=overflow, form=form, count=count
        )


def _choice_of(options: Mapping[str, str], flag: str, choices: Sequence[str]) -> str:
    """Return what an option chooses; its default is the first choice."""
    choice = options.get(flag, choices[0])
    if choice not in choices:
        raise UsageError(f"{flag}: {choice!r} is not allowed: one of {', '.join(choices)}")
    return choice


def _count_of(options: Mapping[str, str]) -> int | None:
    text = options.get("--count")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) == 0:
        raise UsageError(f"--count: {text!r} is not allowed: a whole number of messages, 1 or more")
    return int(text)
