"""The file that a log is kept in: opening it, reading it back, and writing batches.

All calls are made by one thread at a time, and may take as long as the disk does. Whatever SQLite raises
while a batch is written leaves the file as it was before that batch, as far as it can be reached at all;
`recover` then opens it anew.

**What is never half-read.** Opening verifies the structure (`quick_check`) and reading back verifies the
checksum of every row. A file with damage, one of another program, one of a newer version and one that another
broker has open are refused, with the way out.

**What an offset stands for.** An offset that anybody has been told of is never given to another message, also
where the file has lost what it stood for. Three things see to that. The head is part of each batch. With
`durability` "normal", where a power cut takes the batches that the system had not written yet, offsets are
reserved in strides: the stride is synced before its first offset is used, and a file that was left open on a
machine that has been restarted since goes on behind it. And the lock file notes how far the store has come:
where the file is behind that, somebody has taken its write-ahead log away or put an old copy in its place. In
the last two cases all that may be lost counts as lost to every filter.
"""

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from time import monotonic
from typing import Final
from urllib.parse import quote

from broker.engines.batch import Batch, Placed, runs_of
from broker.engines.connecting import (
    Connect,
    Transaction,
    boot_of_machine,
    connect_to,
    execute,
    prepare,
    run,
)
from broker.engines.failures import StoreRefused, is_damage, reason_of
from broker.engines.lockfile import Locked, LockFile
from broker.engines.records import Value, state_checksum, topic_checksum, values_of
from broker.engines.schema import (
    APPLICATION_ID,
    DELETE_MESSAGES,
    DELETE_RANGE,
    DELETE_RETAINED,
    DELETE_RETAINED_OF,
    DELETE_STATE,
    DELETE_TOPICS,
    HEAD_LAG,
    PUT_KEYS,
    PUT_MESSAGES,
    PUT_RETAINED,
    PUT_STATES,
    PUT_TOPICS,
    TABLES,
    UPDATE_STORE,
    UPGRADES,
    VERSION,
    Statement,
    head_of,
)

__all__ = ["DURABILITIES", "Store"]

logger: Final = logging.getLogger("broker.store")

DURABILITIES: Final = ("full", "normal")

RESERVED_OFFSETS: Final = 1_000_000
"""So many offsets are reserved at once: one sync more in as many messages, and no more are skipped."""

CHECKPOINT_PAGES: Final = 1000
"""The write-ahead log is carried over into the file when it has so many pages: 4 MB. Then it is written from
its beginning again, which takes less than making it longer: of the processor time of a message alone that is
on the disk, a seventh. Four times as many pages did not make batches any faster.
"""

WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""To this the write-ahead log is cut, when a reader from outside had kept it from being carried over."""

FILLER_BYTES: Final = 256 * 1024
"""So much is written to see whether the disk takes a batch again."""

LOOK_INTERVAL_S: Final = 1.0
"""So often it is looked whether the path still leads to the file."""


class Store:
    """The file, opened by one broker."""

    def __init__(self, path: str, durability: str = "full", connect: Connect | None = None) -> None:
        assert durability in DURABILITIES
        self.path = path
        self.durability = durability
        self.epoch = ""
        self.head = 0
        self.forgotten_until = 0
        self.numbers: dict[str, int] = {}
        self._connect = connect if connect is not None else connect_to
        self._connection: Connection | None = None
        self._lock = LockFile(f"{path}-lock")
        self._last_number = 0
        self._floors: dict[str, int] = {}  # what topics have lost of which nothing is written but that
        self._reserved_until = 0
        self._noted_head = 0  # in the row `store`
        self._identity: tuple[int, int] = (0, 0)
        self._looked_at = 0.0
        self._is_marked = False
        self._version = VERSION

    @property
    def connection(self) -> Connection:
        assert self._connection is not None, "the store is open"
        return self._connection

    @property
    def file_bytes(self) -> int:
        """The size of the file, 0 where it cannot be seen."""
        return _size_of(self.path)

    @property
    def wal_bytes(self) -> int:
        """The size of its write-ahead log, 0 where there is none."""
        return _size_of(f"{self.path}-wal")

    # Opening and closing

    def open(self, epoch: str) -> None:
        """Open the file, or make one whose log has this epoch. Nothing is written to one that is there.

        Raises:
            StoreRefused: it cannot be used.
        """
        self._acquire_lock()
        try:
            self._open(epoch)
        except BaseException:
            self._disconnect()
            self._lock.release()
            raise

    def begin(self) -> None:
        """Mark the file as open, before the first batch, and bring one of an older version up to this one.

        Raises sqlite3.Error.
        """
        connection = self.connection
        connection.execute("PRAGMA synchronous = FULL")
        with Transaction(connection):
            self._mark(connection)
        connection.execute(f"PRAGMA synchronous = {self.durability}")
        self._marked()

    def close(self) -> None:
        """Carry everything over into the one file, and let go of it. Idempotent."""
        if self._connection is not None and self._is_marked:
            try:
                self._connection.execute("UPDATE store SET head = max(head, ?), is_open = 0", (self.head,))
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                logger.warning("%s was not closed in order: %s", self.path, reason_of(error))
        self._disconnect()
        self._lock.release()

    def write(self, batch: Batch) -> None:
        """Write a batch, all of it or nothing. On the disk on return, with `durability` "full"."""
        self._look()
        connection = self.connection
        numbered = len(self.numbers), self._last_number
        must_sync = self.durability == "normal" and batch.head > self._reserved_until
        reserved_until = batch.head + RESERVED_OFFSETS if must_sync else self._reserved_until
        try:
            if must_sync:
                connection.execute("PRAGMA synchronous = FULL")
            floors: dict[str, int] = {}
            run(connection, self._statements(batch, reserved_until, floors))
            if must_sync:
                connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            self._forget_numbers(*numbered)
            raise
        self._take(batch, reserved_until, floors)
        self._forget_topics(batch)
        self._lock.note(self.epoch, self.head)

    def write_all(self, batches: Iterable[Batch]) -> None:
        """Write many batches in one transaction: all of them, or none when one fails or cannot be made.

        For when nobody else has the store; it is of no use for more afterwards when this fails.
        """
        connection = self.connection
        with Transaction(connection):
            for batch in batches:
                floors: dict[str, int] = {}
                execute(connection, self._statements(batch, batch.head, floors))
                self._take(batch, batch.head, floors)

    def compact(self) -> None:
        """Give the room that is not needed back to the file system. Takes as much again while it works.

        Raises:
            sqlite3.Error: it did not succeed; the file is as it was.
        """
        self.connection.execute("VACUUM")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def recover(self, losses: Mapping[str, int], retained: Sequence[Placed] = ()) -> None:
        """Open the file anew after a failure, and see whether as much as a batch can be written.

        A transaction that has failed may be in the file all the same, where the disk has taken its last page
        and then reported an error. Nobody has been told of it, and it is taken back: what it has put in, what
        it says that topics have lost (`losses` has what they have), and what it no longer retains (`retained`
        has what is retained). That something had gone stays so: it has gone from memory as well.

        Raises:
            sqlite3.Error, OSError, StoreRefused: it still cannot be written.
        """
        self._disconnect()
        self._look(force=True)
        connection = self._connected()
        self._set_up(connection)
        found = connection.execute(f"SELECT epoch, {head_of(self._version)} FROM store").fetchone()
        if found is None or found[0] != self.epoch or (self._is_marked and found[1] < self.head):
            raise StoreRefused(f"{self.path} is no longer the file that was opened: put it back, or restart")
        with Transaction(connection):
            for table in ("messages", "retained", "keys"):
                connection.execute(f"DELETE FROM {table} WHERE offset > ?", (self.head,))
            self._mark(connection)
            self._take_back_losses(connection, losses)
            rows: list[Value] = []
            for placed in retained:
                rows += values_of(placed.message, placed.offset, placed.message.topic, placed.time)
            execute(connection, PUT_RETAINED.of(rows))
            connection.execute("INSERT INTO scratch (filler) VALUES (zeroblob(?))", (FILLER_BYTES,))
        self._marked()
        connection.execute("DELETE FROM scratch")
        self.find_topics()

    def know_topics(self, names: dict[int, str]) -> None:
        """Take the topics that have been read from the file, by number."""
        self.numbers = {name: number for number, name in names.items()}
        self._last_number = max(names, default=0)

    def find_topics(self) -> None:
        """Read from the file which topics there are. Raises sqlite3.Error."""
        self.know_topics(dict(self.connection.execute("SELECT id, name FROM topics ORDER BY id")))

    def damaged(self, what: str) -> StoreRefused:
        """Return what is raised when the file is not as it was written."""
        return StoreRefused(
            f"{self.path} is damaged: {what}. It has not been touched. Put a backup in its place; or save"
            f" what can be read, extra-broker export --store {self.path} --damaged > FILE, and import that"
            " into a new file; or begin with an empty one (store.path)"
        )

    def has_states(self) -> bool:
        """Tell whether the file has a table of states: one of version 1 is given it by `begin`."""
        return self._version >= 2

    # Private

    def _acquire_lock(self) -> None:
        path = Path(self.path)
        if path.is_dir():
            raise StoreRefused(f"{self.path} is a directory: name a file in it (store.path)")
        if not path.parent.is_dir():
            raise StoreRefused(f"{self.path}: there is no directory {path.parent} (store.path)")
        try:
            self._lock.acquire()
        except Locked as locked:
            holder = f"process {locked.holder}" if locked.holder else "another process"
            raise StoreRefused(
                f"{self.path} is in use by {holder}: stop that, or name another file (store.path)"
            ) from None
        except OSError as error:
            raise StoreRefused(
                f"{self._lock.path} cannot be written: {error.strerror}: the broker needs a directory that it"
                " may write to (store.path)"
            ) from None

    def _open(self, epoch: str) -> None:
        try:
            self._identity = prepare(self.path)
            connection = self._connected()
            if self._is_empty(connection):
                self._set_up(connection)
                self._create(connection, epoch)
            else:
                self._set_up(connection)
            self._check_structure(connection)
            self._read_state(connection)
        except sqlite3.Error as error:
            raise self._refusal(error) from None
        except OSError as error:
            raise StoreRefused(f"{self.path} cannot be opened: {error.strerror} (store.path)") from None

    def _connected(self) -> Connection:
        path = quote(os.fsencode(os.path.abspath(self.path)))
        self._connection = self._connect(f"file:{path}?mode=rw")
        return self._connection

    def _set_up(self, connection: Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreRefused(
                f"{self.path} cannot have a write-ahead log where it is, which takes a file system of this"
                " machine: name another file (store.path)"
            )
        connection.execute(f"PRAGMA synchronous = {self.durability}")
        # macOS: fsync alone leaves data in the cache of the drive. Nothing elsewhere.
        connection.execute(f"PRAGMA fullfsync = {int(self.durability == 'full')}")
        connection.execute("PRAGMA checkpoint_fullfsync = 1")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _is_empty(self, connection: Connection) -> bool:
        """Tell whether nothing is in the file yet. Raises StoreRefused when it is not ours, or of a newer
        version.
        """
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        self._version = version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION_ID and (application or version or tables):
            raise StoreRefused(
                f"{self.path} is the database of another program: name another file (store.path)"
            )
        if version > VERSION:
            raise StoreRefused(
                f"{self.path} was written by a newer extra-broker (schema {version}, and {VERSION} is the"
                " newest that this one knows): upgrade, or name another file (store.path)"
            )
        return not tables

    def _create(self, connection: Connection, epoch: str) -> None:
        with Transaction(connection):
            for table in TABLES:
                connection.execute(table)
            connection.execute("INSERT INTO store (id, epoch) VALUES (1, ?)", (epoch,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        self._version = VERSION
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        descriptor = os.open(Path(self.path).parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the name of the file is on the disk, too
        finally:
            os.close(descriptor)

    def _check_structure(self, connection: Connection) -> None:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self.damaged(" ".join(found.split()))

    def _read_state(self, connection: Connection) -> None:
        """Find out where the log stands."""
        row = connection.execute(
            f"SELECT epoch, {head_of(self._version)}, forgotten_until, reserved_until, is_open, durability,"
            " boot FROM store"
        ).fetchone()
        if row is None:
            raise self.damaged("the row that describes it is missing")
        self.epoch, self.head, self.forgotten_until, reserved_until, was_open, durability, boot = row
        noted = self._lock.noted(self.epoch)
        lost_until = 0
        if was_open and durability == "normal" and not (boot and boot == boot_of_machine()):
            lost_until = max(reserved_until, noted)
            reason = "the machine was restarted while a broker had it open with durability normal"
        elif noted > self.head:
            lost_until = noted
            reason = "its write-ahead log has gone, or an older copy was put in its place"
        if lost_until > self.head:
            logger.warning(
                "%s may have lost messages after offset %d, because %s: it goes on behind offset %d, and"
                " subscribers are told of a gap",
                self.path,
                self.head,
                reason,
                lost_until,
            )
            self.head = self.forgotten_until = lost_until

    def _mark(self, connection: Connection) -> None:
        for version in range(self._version, VERSION):
            for statement in UPGRADES[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(
            "UPDATE store SET head = ?, forgotten_until = max(forgotten_until, ?), reserved_until = ?,"
            " is_open = 1, durability = ?, boot = ?",
            (self.head, self.forgotten_until, self.head, self.durability, boot_of_machine()),
        )

    def _marked(self) -> None:
        self._reserved_until = self._noted_head = self.head
        self._is_marked = True
        self._version = VERSION
        self._lock.note(self.epoch, self.head)

    def _look(self, force: bool = False) -> None:
        """Raise StoreRefused when the path no longer leads to the file that was opened."""
        now = monotonic()
        if not force and now - self._looked_at < LOOK_INTERVAL_S:
            return
        self._looked_at = now
        try:
            stat = os.stat(self.path)
        except OSError as error:
            raise StoreRefused(f"{self.path} has gone ({error.strerror}): put it back, or restart") from None
        if (stat.st_dev, stat.st_ino) != self._identity:
            raise StoreRefused(f"{self.path} is no longer the file that was opened: put it back, or restart")

    def _statements(self, batch: Batch, reserved_until: int, floors: dict[str, int]) -> list[Statement]:
        """Return what writes a batch; add what topics lose of which it keeps nothing."""
        statements = self._putting(batch, floors)
        if batch.states:
            statements += _putting_states(batch)
        statements += self._deleting(batch)
        if not self._is_told_by_messages(batch, reserved_until):
            values = (batch.head, batch.forgotten_until, reserved_until)
            statements.append((UPDATE_STORE, values))
        return statements

    def _is_told_by_messages(self, batch: Batch, reserved_until: int) -> bool:
        """Return whether the row `store` may stay as it is."""
        if not batch.placed or batch.gone.evicted:
            return False
        last = batch.placed[-1]
        return (
            last.offset == batch.head < self._noted_head + HEAD_LAG
            and last.is_kept
            and last.is_durable
            and batch.forgotten_until == self.forgotten_until
            and reserved_until == self._reserved_until
        )

    def _take(self, batch: Batch, reserved_until: int, floors: dict[str, int]) -> None:
        """Stand where the file stands with this batch."""
        if not self._is_told_by_messages(batch, reserved_until):
            self._noted_head = batch.head
        self._reserved_until = reserved_until
        self.head, self.forgotten_until = batch.head, batch.forgotten_until
        self._floors.update(floors)

    def _putting(self, batch: Batch, floors: dict[str, int]) -> list[Statement]:
        messages: list[Value] = []
        retained: list[Value] = []
        keys: list[Value] = []
        bounds: dict[str, int] = {}
        numbers = self.numbers
        for placed in batch.placed:
            message, offset = placed.message, placed.offset
            topic = message.topic
            number = numbers.get(topic)
            if number is None:
                number = self._number(topic)
                bounds[topic] = 0
            if placed.is_kept and placed.is_durable:
                messages += values_of(message, offset, number, placed.time)
            else:
                bounds[topic] = floors[topic] = offset
            if message.retained and placed.is_durable and batch.retained is None:
                retained += values_of(message, offset, topic, placed.time)
            if placed.key:
                keys += (offset, placed.key, placed.time)
        for placed in batch.retained or ():
            retained += values_of(placed.message, placed.offset, placed.message.topic, placed.time)
        for topic, evicted_until in batch.gone.losses.items():
            bounds[topic] = max(evicted_until, floors.get(topic, self._floors.get(topic, 0)))
        topics: list[Value] = []
        for name, evicted_until in bounds.items():
            number = numbers.get(name) or self._number(name)
            topics += (number, name, evicted_until, topic_checksum(number, name, evicted_until))
        statements = PUT_TOPICS.of(topics) + PUT_MESSAGES.of(messages)
        return statements + PUT_RETAINED.of(retained) + PUT_KEYS.of(keys)

    def _deleting(self, batch: Batch) -> list[Statement]:
        """Return what deletes what has gone: after what is put, since that may have gone already."""
        statements: list[Statement] = []
        singles: list[Value] = []
        for first, last in runs_of(batch.gone.evicted):
            if last - first < 8:
                singles += range(first, last + 1)
            else:
                statements.append((DELETE_RANGE, (first, last)))
        statements += DELETE_MESSAGES.of(singles)
        statements += DELETE_RETAINED.of(batch.gone.unretained)
        statements += [(DELETE_RETAINED_OF, cleared) for cleared in batch.cleared]
        if batch.keys_until:
            statements.append(("DELETE FROM keys WHERE offset <= ?", (batch.keys_until,)))
        numbers = [self.numbers[name] for name in batch.gone.forgotten if name in self.numbers]
        return statements + DELETE_TOPICS.of(numbers)

    def _take_back_losses(self, connection: Connection, losses: Mapping[str, int]) -> None:
        """Let topics have lost nothing above the head. One of which nothing is said may have lost all."""
        rows: list[Value] = []
        for number, name in connection.execute(
            "SELECT id, name FROM topics WHERE evicted_until > ?", (self.head,)
        ):
            lost_until = max(losses.get(name, self.head), self._floors.get(name, 0))
            rows += (number, name, lost_until, topic_checksum(number, name, lost_until))
        execute(connection, PUT_TOPICS.of(rows))

    def _number(self, topic: str) -> int:
        self._last_number += 1
        self.numbers[topic] = self._last_number
        return self._last_number

    def _forget_numbers(self, known: int, last_number: int) -> None:
        """Take back the numbers that were given since: dictionaries keep their order."""
        while len(self.numbers) > known:
            self.numbers.popitem()
        self._last_number = last_number

    def _forget_topics(self, batch: Batch) -> None:
        for name in batch.gone.forgotten:
            self.numbers.pop(name, None)
            self._floors.pop(name, None)

    def _refusal(self, error: sqlite3.Error) -> StoreRefused:
        """Return what is raised when SQLite cannot open the file."""
        if is_damage(error):
            return self.damaged(str(error))
        return StoreRefused(f"{self.path} cannot be opened: {reason_of(error)} (store.path)")


def _putting_states(batch: Batch) -> list[Statement]:
    statements: list[Statement] = []
    rows: list[Value] = []
    for (kind, name), value in batch.states.items():
        if value:
            rows += (kind, name, value, state_checksum(kind, name, value))
        else:
            statements.append((DELETE_STATE, (kind, name)))
    return statements + PUT_STATES.of(rows)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
