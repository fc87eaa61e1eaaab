"""Reading a store from outside, also while a broker has it open: for the commands that show, check and
export.

Everything that one reader gives is of one moment. While it reads, the write-ahead log of a broker that has
the store open cannot begin anew, and grows.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, final
from urllib.parse import quote

from broker.engines.connecting import Connect, connect_to
from broker.engines.failures import StoreRefused, is_damage, reason_of
from broker.engines.records import (
    MESSAGE_COLUMNS,
    RETAINED_COLUMNS,
    Row,
    damage_of,
    state_damage,
    topic_checksum,
)
from broker.engines.schema import APPLICATION_ID, HEAD_LAG, VERSION, head_of

__all__ = ["Found", "StoreReader", "TopicSummary"]


@final
@dataclass(frozen=True, slots=True)
class TopicSummary:
    """What a store holds of a topic. `last_offset` is 0 when that is nothing."""

    topic: str
    messages: int
    payload_bytes: int
    last_offset: int
    evicted_until: int
    is_retained: bool


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A row that was read, with the name of its topic; or what is wrong instead."""

    row: Row
    topic: str
    damage: str = ""


@final
class StoreReader:
    """A store at one moment: a context manager.

    Raises:
        StoreRefused: on entering, when the file is no store or cannot be read.
    """

    def __init__(self, path: str, connect: Connect | None = None) -> None:
        self.path = path
        self._connect = connect if connect is not None else connect_to
        self.epoch = ""
        self.version = VERSION
        self.head = 0
        self.forgotten_until = 0
        self.names: dict[int, str] = {}
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._connection = self._open()
            self._read_state()
        except sqlite3.Error as error:
            self._close()
            if is_damage(error):
                raise StoreRefused(f"{self.path} is damaged, or no store: {error}") from None
            raise StoreRefused(f"{self.path} cannot be read: {reason_of(error)}") from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    @property
    def connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "enter the reader first"
        return self._connection

    def counts(self) -> tuple[int, int]:
        """Return how many messages there are, and how many retained ones. Raises sqlite3.Error."""
        messages = self.connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        retained = self.connection.execute("SELECT count(DISTINCT topic) FROM retained").fetchone()[0]
        return messages, retained

    def topics(self) -> list[TopicSummary]:
        """Return every topic that the store knows, by name. Cost: one step per message. Raises
        sqlite3.Error.
        """
        retained = {row[0] for row in self.connection.execute("SELECT topic FROM retained")}
        counted = {
            row[0]: row[1:]
            for row in self.connection.execute(
                "SELECT topic_id, count(*), sum(length(payload)), max(offset) FROM messages GROUP BY topic_id"
            )
        }
        summaries = {}
        for number, name, evicted_until in self.connection.execute(
            "SELECT id, name, evicted_until FROM topics"
        ):
            messages, payload_bytes, last_offset = counted.get(number, (0, 0, 0))
            summaries[name] = TopicSummary(
                name, messages, payload_bytes, last_offset, evicted_until, name in retained
            )
        for name in retained - set(summaries):
            summaries[name] = TopicSummary(name, 0, 0, 0, 0, True)
        return [summaries[name] for name in sorted(summaries)]

    def losses(self) -> Iterator[tuple[str, int, str]]:
        """Yield every topic with the highest offset that it has lost, and what is wrong with that, if
        anything.

        Raises:
            sqlite3.Error: the rows cannot be read.
        """
        rows = self.connection.execute("SELECT id, name, evicted_until, checksum FROM topics ORDER BY id")
        for number, name, evicted_until, checksum in rows:
            is_sound = isinstance(name, str) and isinstance(evicted_until, int)
            is_sound = is_sound and topic_checksum(number, name, evicted_until) == checksum
            yield name, evicted_until, "" if is_sound else f"topic number {number} is not what was written"

    def states(self) -> Iterator[tuple[str, str, str]]:
        """Yield kind and name of everything that is kept beside the log, and what is wrong with it, if
        anything.

        Raises:
            sqlite3.Error: the rows cannot be read.
        """
        if self.version < 2:
            return
        for kind, name, value, checksum in self.connection.execute(
            "SELECT kind, name, value, checksum FROM states ORDER BY kind, name"
        ):
            yield kind, name, state_damage(kind, name, value, checksum)

    def messages(self) -> Iterator[Found]:
        """Yield the messages by rising offset, and what is damaged where it stood; then it goes on."""
        query = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE offset > ? ORDER BY offset"
        for found in self._read(query):
            if found.damage:
                yield found
            elif found.row[1] not in self.names:
                yield Found(found.row, "", f"the message at offset {found.row[0]} is of no topic")
            else:
                yield Found(found.row, self.names[found.row[1]])

    def retained(self, *, with_replaced: bool = False) -> Iterator[Found]:
        """Yield the retained messages, as `messages` does.

        One that has been replaced is in the file for a while, and given only where that is asked for.
        """
        newest = "" if with_replaced else " AND offset IN (SELECT max(offset) FROM retained GROUP BY topic)"
        query = f"SELECT {RETAINED_COLUMNS} FROM retained WHERE offset > ?{newest} ORDER BY offset"
        for found in self._read(query):
            yield found if found.damage else Found(found.row, found.row[1])

    def _read(self, query: str) -> Iterator[Found]:
        """Yield the rows that a query gives above an offset; where it fails, go on ever further behind."""
        after = 0
        step = 0
        while after < self.head:
            try:
                for row in self.connection.execute(query, (after,)):
                    after, step = row[0], 0
                    damage = damage_of(row)
                    if not damage and row[0] > self.head:
                        damage = f"the message at offset {row[0]} is above the head"
                    yield Found(row, "", damage)
                return
            except sqlite3.Error as error:
                if step == 0:
                    yield Found(
                        (after,), "", f"what follows offset {after} cannot be read: {reason_of(error)}"
                    )
                step = 2 * step or 1
                after += step

    def _open(self) -> sqlite3.Connection:
        if not Path(self.path).is_file():
            raise StoreRefused(f"{self.path}: there is no such file")
        place = f"file:{quote(os.fsencode(os.path.abspath(self.path)))}"
        connection = self._connect(f"{place}?mode=ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            if os.path.exists(f"{self.path}-wal"):
                connection.close()
                raise
            connection.close()  # on a disk that cannot be written to, and nobody has it open
            connection = self._connect(f"{place}?immutable=1")
        return connection

    def _read_state(self) -> None:
        connection = self.connection
        connection.execute("BEGIN")
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreRefused(f"{self.path} is no store of extra-broker")
        self.version = connection.execute("PRAGMA user_version").fetchone()[0]
        if self.version > VERSION:
            raise StoreRefused(f"{self.path} was written by a newer extra-broker (schema {self.version})")
        row = connection.execute("SELECT epoch, head, forgotten_until FROM store").fetchone()
        if row is None:
            raise StoreRefused(f"{self.path} is damaged: the row that describes it is missing")
        self.epoch, self.head, self.forgotten_until = row
        try:
            self.head = connection.execute(f"SELECT {head_of(self.version)} FROM store").fetchone()[0]
        except sqlite3.Error:  # it depends on messages, which cannot be read: so far it has come at most
            self.head += HEAD_LAG
        with suppress(sqlite3.Error):  # where that fails, each message says that it is of no topic
            self.names = dict(connection.execute("SELECT id, name FROM topics"))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
