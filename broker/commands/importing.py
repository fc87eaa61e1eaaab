"""`extra-broker import`: puts what was exported into a store that no broker has open: all, or nothing."""

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from time import time
from typing import IO, Final

from broker.commands.exchange import BadRecord, Record, read_records
from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION, STORE_OPTION, open_store, store_path, with_progress
from broker.commands.streams import StreamError, warn, write_out
from broker.engines import StoreRefused
from broker.engines.batch import Batch, Placed
from broker.engines.failures import reason_of
from broker.engines.store import Store
from extra.pubsub.journal import Journal

__all__ = ["Import", "run"]

SAME_EPOCH_OPTION: Final = Option(
    "--same-epoch", "", "keep epoch and offsets, so that cursors stay good: into an empty store only"
)
OPTIONS: Final = (STORE_OPTION, CONFIG_OPTION, SAME_EPOCH_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker import FILE|- --store PATH [OPTIONS]

Put what extra-broker export has written into a store: a new one, or behind what is in it. The
messages keep their times, and what has expired since is left out; they get new offsets, unless
--same-epoch keeps them. All of it is imported or, when something is wrong, nothing. No broker may
have the store open; when one starts on it, its retention applies: what is too old by then goes.

Options
{options}

Exit status
  0  all is imported
  1  it cannot be read, is no export, or the store cannot be written: nothing is imported
  2  called wrongly

Examples
  extra-broker import backup.jsonl --store new.db
  gunzip < site.jsonl.gz | extra-broker import - --store extra.db
"""

BATCH_MESSAGES: Final = 1000


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: the file cannot be read.
    """
    given, arguments = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if len(arguments) != 1:
        raise UsageError(f"import takes FILE|-, not {len(arguments)} arguments")
    name, path = arguments[0], store_path(options)
    try:
        with _input(name) as file:
            importing = Import(file, time(), same_epoch=SAME_EPOCH_OPTION.flag in options)
            with open_store(path, importing.epoch) as store:
                importing.put_into(store)
    except (StoreRefused, BadRecord) as error:
        warn(f"{error}: nothing is imported" if isinstance(error, BadRecord) else str(error))
        return 1
    except sqlite3.Error as error:
        warn(f"{path} cannot be written: {reason_of(error)}: nothing is imported")
        return 1
    except OSError as error:
        raise StreamError(f"{name} cannot be read: {error.strerror}") from None
    told = f"{importing.messages} messages and {importing.retained} retained ones are imported"
    write_out(f"{told}, {importing.expired} had expired\n".encode())
    return 0


class Import:
    """What is read from a file, on its way into a store.

    Raises:
        BadRecord: on being made, when the file is no export.
    """

    def __init__(self, file: IO[bytes], now: float, *, same_epoch: bool) -> None:
        self.records = read_records(file)
        self.now = now
        self.same_epoch = same_epoch
        _, first = next(self.records)
        self.total = first.messages or None
        self.epoch = first.epoch if same_epoch else os.urandom(4).hex()
        self.head = first.head
        self.forgotten_until = first.forgotten_until if same_epoch else 0
        self.messages = 0
        self.retained = 0
        self.expired = 0
        self._at = 0
        self._offsets: dict[int, int] = {}  # new by old, of what was published to be retained

    def put_into(self, store: Store) -> None:
        """Write everything in one transaction.

        Raises:
            BadRecord, StoreRefused, sqlite3.Error, OSError: nothing is written.
        """
        if self.same_epoch and (store.head or store.epoch != self.epoch):
            raise StoreRefused(f"{store.path} is not empty: --same-epoch needs a new store (store.path)")
        self._at = store.head
        self.forgotten_until = max(self.forgotten_until, store.forgotten_until)
        store.write_all(self._batches())

    def _batches(self) -> Iterator[Batch]:
        load = Load()
        for number, record in with_progress(self.records, self.total, "import"):
            try:
                self._add(record, load)
            except ValueError as error:
                raise BadRecord(f"record {number}: {error}") from None
            if len(load.placed) + len(load.retained) + len(load.gone.losses) >= BATCH_MESSAGES:
                yield self._batch(load)
                load = Load()
        if self.same_epoch:
            self._at = max(self._at, self.head)
        yield self._batch(load)

    def _batch(self, load: "Load") -> Batch:
        return Batch(
            self._at,
            load.placed,
            load.gone,
            forgotten_until=self.forgotten_until,
            retained=load.retained,
        )

    def _add(self, record: Record, load: "Load") -> None:
        """Add what a record says. Raises ValueError."""
        if record.op == "store":
            raise ValueError("this is a second store")
        if record.op == "topic":
            if not record.topic or not 0 < record.evicted_until <= self.head:
                raise ValueError("it has no topic, or has lost what is above the head")
            if self.same_epoch:
                load.gone.losses[record.topic] = record.evicted_until
            return
        message = record.message()
        if message.is_expired(self.now):
            self.expired += 1
        elif record.op == "message":
            offset = self._next_offset(record, rises=True)
            if record.retained:
                self._offsets[record.offset] = offset
            load.placed.append(Placed(message, offset, 0.0, record.time))
            self.messages += 1
        else:
            offset = self._offsets.get(record.offset) or self._next_offset(record, rises=False)
            load.retained.append(Placed(message, offset, 0.0, record.time))
            self.retained += 1

    def _next_offset(self, record: Record, *, rises: bool) -> int:
        """Return the offset that a message is to have. Raises ValueError."""
        if not self.same_epoch:
            self._at += 1
            return self._at
        if not 0 < record.offset <= self.head or (rises and record.offset <= self._at):
            raise ValueError(f"its offset {record.offset} does not follow {self._at}, or is above the head")
        self._at = max(self._at, record.offset)
        return record.offset


class Load:
    """What one batch is made of."""

    def __init__(self) -> None:
        self.placed: list[Placed] = []
        self.retained: list[Placed] = []
        self.gone = Journal()


def _input(name: str) -> IO[bytes]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin is None:
        raise StreamError("standard input is closed")
    return sys.stdin.buffer
