"""`extra-broker check`: verifies a store, all of it, also while a broker has it open."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from broker.commands.options import HELP_OPTION, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION, STORE_OPTION, store_path, with_progress
from broker.commands.streams import warn, write_out
from broker.engines import StoreRefused
from broker.engines.reading import StoreReader

__all__ = ["run"]

OPTIONS: Final = (STORE_OPTION, CONFIG_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker check --store PATH [OPTIONS]

Verify the structure of a store and the checksum of everything in it. The broker may run
meanwhile. Each damage is told on standard error.

Options
{options}

Exit status
  0  it is sound
  1  it is damaged, or cannot be read
  2  called wrongly
"""

TOLD_LIMIT: Final = 100
"""So many damages are told one by one."""


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: standard output cannot be written.
    """
    given, arguments = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if arguments:
        raise UsageError(f"check takes no argument {arguments[0]!r}")
    path = store_path(options)
    try:
        with StoreReader(path) as reader:
            count = 0
            for count, damage in enumerate(damages(reader), 1):
                if count <= TOLD_LIMIT:
                    warn(damage)
            told = f"{reader.path} has epoch {reader.epoch} and is at offset {reader.head}"
    except StoreRefused as error:
        warn(str(error))
        return 1
    if count:
        warn(
            f"{path} is damaged in {count} places: put a backup in its place, or save the rest with"
            f" extra-broker export --store {path} --damaged"
        )
        return 1
    write_out(f"{told}: it is sound\n".encode())
    return 0


def damages(reader: StoreReader) -> Iterator[str]:
    """Yield what is wrong with a store."""
    try:
        for (line,) in reader.connection.execute(f"PRAGMA integrity_check({TOLD_LIMIT})"):
            if line != "ok":
                yield " ".join(line.split())
        known: set[str] = set()
        for topic, evicted_until, damage in reader.losses():
            if damage:
                yield damage
            elif topic in known:
                yield f"topic {topic[:80]!r} is there twice"
            elif evicted_until > reader.head:
                yield f"topic {topic[:80]!r} has lost what is above the head"
            known.add(topic)
        for _, _, damage in reader.states():
            if damage:
                yield damage
        total, _ = reader.counts()
    except sqlite3.Error as error:
        yield str(error)
        total = 0
    for found in with_progress(
        chain(reader.messages(), reader.retained(with_replaced=True)), total or None, "check"
    ):
        if found.damage:
            yield found.damage
