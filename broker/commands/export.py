"""`extra-broker export`: writes what a store holds, as of one moment, also while a broker has it open."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from broker.commands.exchange import FORMATS, VERSION, Format, encode_message, encode_record
from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION, STORE_OPTION, store_path, with_progress
from broker.commands.streams import StreamError, warn, write_out
from broker.commands.topics import check_filters, is_wanted
from broker.engines import StoreRefused
from broker.engines.reading import StoreReader
from broker.engines.records import message_of
from extra.payloads import JSONValue

__all__ = ["run"]

FORMAT_OPTION: Final = Option("--format", "FORMAT", f"{' or '.join(FORMATS)}", FORMATS[0])
OUTPUT_OPTION: Final = Option("--output", "FILE", "write there, and show how far it is; a new file")
DAMAGED_OPTION: Final = Option("--damaged", "", "leave out what is damaged, and go on")
OPTIONS: Final = (STORE_OPTION, CONFIG_OPTION, OUTPUT_OPTION, FORMAT_OPTION, DAMAGED_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker export [FILTER...] --store PATH [OPTIONS]

Write the messages of a store that match any FILTER, or all, with the retained messages and what
each topic has lost, for extra-broker import. It is of one moment; the broker may run meanwhile.
What is kept beside the log is left out: where groups and sessions stand, what is scheduled, keys.

Options
{options}

Formats
  jsonl    a JSON object on each line
  msgpack  the same in msgpack, one map after the other: smaller and faster

Exit status
  0  all is written
  1  the store cannot be read, the output cannot be written, or something damaged was left out
  2  called wrongly

Examples
  extra-broker export --store extra.db --output backup.jsonl
  extra-broker export 'site/#' --store extra.db | gzip > site.jsonl.gz
"""

BLOCK_BYTES: Final = 256 * 1024

Write = Callable[[bytes], None]


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: the output cannot be written.
    """
    given, filters = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    check_filters(filters)
    form = _format_of(options.get(FORMAT_OPTION.flag, FORMATS[0]))
    path = store_path(options)
    try:
        with StoreReader(path) as reader, _output(options.get(OUTPUT_OPTION.flag)) as write:
            left_out = export(reader, filters, form, write, skip=DAMAGED_OPTION.flag in options)
    except StoreRefused as error:
        warn(str(error))
        return 1
    except sqlite3.Error as error:
        warn(f"{path} cannot be read: {error}; --damaged leaves out what is damaged")
        return 1
    return 1 if left_out else 0


def export(reader: StoreReader, filters: Sequence[str], form: Format, write: Write, *, skip: bool) -> int:
    """Write all records; return how many were left out because they are damaged.

    Raises:
        StoreRefused: something is damaged, and `skip` is false.
        sqlite3.Error: likewise.
        StreamError: it cannot be written.
    """
    left_out = 0

    def damaged(what: str) -> None:
        nonlocal left_out
        if not skip:
            raise StoreRefused(f"{reader.path} is damaged: {what}; --damaged leaves it out and goes on")
        warn(f"left out: {what}")
        left_out += 1

    total = 0 if skip else reader.counts()[0]
    head: dict[str, JSONValue] = {
        "op": "store",
        "version": VERSION,
        "epoch": reader.epoch,
        "head": reader.head,
        "forgotten_until": reader.forgotten_until,
    }
    if total and not filters:
        head["messages"] = total
    if filters:
        head["filters"] = [*filters]
    write(encode_record(head, form))
    for topic, evicted_until, damage in reader.losses():
        if damage:
            damaged(damage)
        elif evicted_until and is_wanted(topic, filters):
            write(encode_record({"op": "topic", "topic": topic, "evicted_until": evicted_until}, form))
    for found in with_progress(reader.messages(), total or None, "export"):
        if found.damage:
            damaged(found.damage)
        elif is_wanted(found.topic, filters):
            message = message_of(found.row, found.topic)
            write(encode_message("message", message, found.row[0], found.row[2], form))
    for found in reader.retained():
        if found.damage:
            damaged(found.damage)
        elif is_wanted(found.topic, filters):
            message = message_of(found.row, found.topic)
            write(encode_message("retained", message, found.row[0], found.row[2], form))
    return left_out


@contextmanager
def _output(path: str | None) -> Iterator[Write]:
    """Give something to write with, in blocks: to a new file, or to standard output."""
    if path is None:
        if sys.stdout is not None and sys.stdout.isatty():
            warn("writing to the terminal: --output FILE writes to a file")
        yield from _blocks(write_out)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StreamError(f"{path} cannot be made: {error.strerror}") from None
    with open(descriptor, "wb", buffering=0) as file:

        def write(data: bytes) -> None:
            try:
                file.write(data)
            except OSError as error:
                raise StreamError(f"{path} cannot be written: {error.strerror}") from None

        yield from _blocks(write)
        os.fsync(descriptor)


def _blocks(write: Write) -> Iterator[Write]:
    block = bytearray()

    def add(data: bytes) -> None:
        block.extend(data)
        if len(block) >= BLOCK_BYTES:
            write(bytes(block))
            block.clear()

    yield add
    write(bytes(block))


def _format_of(name: str) -> Format:
    for form in FORMATS:
        if form == name:
            return form
    raise UsageError(f"--format: {name!r} is not allowed: one of {', '.join(FORMATS)}")
