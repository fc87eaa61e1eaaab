"""`extra-broker topics`: what a store holds of each topic, also while a broker has it open."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION, STORE_OPTION, store_path
from broker.commands.streams import warn, write_out
from broker.engines import StoreRefused
from broker.engines.reading import StoreReader, TopicSummary
from extra.errors import InvalidFilter
from extra.topics import check_filter, matches

__all__ = ["run"]

JSON_OPTION: Final = Option("--json", "", "print an object a line")
OPTIONS: Final = (STORE_OPTION, CONFIG_OPTION, JSON_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker topics [FILTER...] --store PATH [OPTIONS]

Print what a store holds of each topic that matches any FILTER, or of all: how many messages, the
bytes of their payloads, the offset of the last one, and up to which offset the topic has lost
some. A topic that retains a message is marked with R. The broker may run meanwhile.

Options
{options}

Exit status
  0  they are printed
  1  the store cannot be read
  2  called wrongly
"""

HEADINGS: Final = ("MESSAGES", "BYTES", "LAST", "LOST UP TO", " ", "TOPIC")


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
    check_filters(filters)
    try:
        with StoreReader(store_path(options)) as reader:
            summaries = [each for each in reader.topics() if is_wanted(each.topic, filters)]
    except StoreRefused as error:
        warn(str(error))
        return 1
    except sqlite3.Error as error:
        warn(f"the store cannot be read: {error}; extra-broker check says more")
        return 1
    if JSON_OPTION.flag in options:
        write_out(b"".join(json.dumps(asdict(each)).encode() + b"\n" for each in summaries))
    elif summaries:
        write_out(table(summaries).encode())
    return 0


def check_filters(filters: Sequence[str]) -> None:
    """Raise UsageError unless all are topic filters."""
    try:
        for topic_filter in filters:
            check_filter(topic_filter)
    except InvalidFilter as error:
        raise UsageError(str(error)) from None


def is_wanted(topic: str, filters: Sequence[str]) -> bool:
    """Tell whether a topic matches any of the filters, or there are none."""
    return not filters or any(matches(topic_filter, topic) for topic_filter in filters)


def table(summaries: Sequence[TopicSummary]) -> str:
    """Return the summaries in columns, numbers to the right."""
    rows = [HEADINGS] + [
        (
            str(each.messages),
            str(each.payload_bytes),
            str(each.last_offset or "-"),
            str(each.evicted_until or "-"),
            "R" if each.is_retained else " ",
            each.topic if each.topic.isprintable() else ascii(each.topic)[1:-1],
        )
        for each in summaries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        "  ".join([*(row[column].rjust(widths[column]) for column in range(4)), row[4], row[5]]) + "\n"
        for row in rows
    )
