"""Any sequence of batches, failures and ends of the process: what the file says when it is opened again.

The model knows which offsets somebody has been told of, and the topic of each message that is to be kept. A
process that is killed leaves a copy of its files as they stand, without its locks.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.commands.check import damages
from broker.engines import store as store_module
from broker.engines.batch import Batch, Placed
from broker.engines.reading import StoreReader
from broker.engines.restoring import restore
from broker.engines.schema import HEAD_LAG
from broker.engines.store import Store
from extra.pubsub import Log, Policy, PolicyTable, RetainedMessages
from extra.pubsub.journal import Journal
from tests.fakes.disk import CHANGES, error_of
from tests.unit.pubsub.material import a_message

TOPICS = ["a", "b", "c/d"]
SUFFIXES = ("", "-wal", "-lock")


class TornConnection(sqlite3.Connection):
    """A connection that can say of what it has committed that it has not."""

    disk: "TornDisk"

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # Any: as sqlite3 has it
        is_commit = sql == "COMMIT" or (not self.in_transaction and sql.startswith(CHANGES))
        if is_commit and self.disk.failing == "before":
            raise error_of("SQLITE_FULL")
        cursor = super().execute(sql, parameters)
        if is_commit and self.disk.failing == "after":
            raise error_of("SQLITE_IOERR_FSYNC")
        return cursor


class TornDisk:
    """Where commits fail: `before` anything is written, or `after` all of it was."""

    def __init__(self) -> None:
        self.failing = ""

    def connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, isolation_level=None, uri=True, factory=TornConnection)
        connection.disk = self
        return connection

    @contextmanager
    def torn(self, when: str) -> Iterator[None]:
        self.failing = when
        try:
            yield
        finally:
            self.failing = ""


@dataclass
class Model:
    """What is to be in the file. `kept` has the topics of messages by their offsets."""

    head: int = 0
    kept: dict[int, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    forgotten_until: int = 0
    retained: dict[str, int] = field(default_factory=dict)
    states: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def take(self, batch: Batch) -> None:
        for placed in batch.placed:
            topic = placed.message.topic
            self.lost.setdefault(topic, 0)
            if placed.is_kept and placed.is_durable:
                self.kept[placed.offset] = topic
            else:
                self.lost[topic] = placed.offset
            if placed.message.retained and placed.is_durable:
                self.retained[topic] = placed.offset
        for topic, offset in batch.cleared:
            if self.retained.get(topic, offset + 1) <= offset:
                del self.retained[topic]
        for offset in batch.gone.evicted:
            self.kept.pop(offset, None)
        for topic, offset in batch.gone.losses.items():
            self.lost[topic] = max(self.lost.get(topic, 0), offset)
        for topic in batch.gone.forgotten:
            self.lost.pop(topic, None)
        self.states.update(batch.states)
        self.head, self.forgotten_until = batch.head, batch.forgotten_until


Step = tuple[str, int, list[tuple[int, int]]]


class Shelf:
    """A store that is opened again and again, at one path after the other."""

    def __init__(self, directory: Path, durability: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.durability = durability
        self.monkeypatch = monkeypatch
        self.number = 0
        self.boot = 0
        self.told = 0
        self.has_failed = False  # topics of batches that have failed may be known, with nothing on them
        self.owed = Journal()
        self.model = Model()
        self.disk = TornDisk()
        self.copy: dict[str, bytes] = {}
        self.monkeypatch.setattr(store_module, "boot_of_machine", lambda: f"boot {self.boot}")
        self.open()

    @property
    def path(self) -> Path:
        return self.directory / f"{self.number}.db"

    def open(self) -> None:
        self.store = Store(str(self.path), self.durability, self.disk.connect)
        self.store.open("e1")
        self.restore()
        self.store.begin()

    def restore(self) -> None:
        """Read it back as a broker does: nothing may be taken for damage, here or by the command."""
        log = Log("e1", PolicyTable(Policy(messages=10_000)))
        restore(self.store, log, RetainedMessages(), 5_000.0, 5_000.0)
        with StoreReader(str(self.path)) as reader:
            assert list(damages(reader)) == []
            assert reader.head <= self.store.head
        assert log.head == self.store.head >= self.told

    def check(self) -> None:
        """Hold the file that is open against the model, after an end that has lost nothing."""
        connection, model = self.store.connection, self.model
        assert (self.store.head, self.store.forgotten_until) == (model.head, model.forgotten_until)
        names = dict(connection.execute("SELECT id, name FROM topics"))
        found = connection.execute("SELECT offset, topic_id FROM messages ORDER BY offset")
        assert {offset: names[number] for offset, number in found} == model.kept
        lost = dict(connection.execute("SELECT name, evicted_until FROM topics"))
        assert {topic: lost[topic] for topic in model.lost} == model.lost
        assert self.has_failed or lost.keys() == model.lost.keys()
        newest = connection.execute("SELECT topic, max(offset) FROM retained GROUP BY topic")
        assert dict(newest) == model.retained
        states = {key: value for key, value in model.states.items() if value}
        found = connection.execute("SELECT kind, name, value FROM states")
        assert {(kind, name): value for kind, name, value in found} == states

    def batch(self, amount: int, entries: list[tuple[int, int]]) -> Batch:
        """Return a batch as the engine makes them: `entries` are topics and what they are like."""
        head, model = self.model.head, self.model
        placed: list[Placed] = []
        batch = Batch(head, placed, self.owed, forgotten_until=model.forgotten_until)
        self.owed = Journal()
        for number, (index, kind) in enumerate(entries, 1):
            batch.gone.forgotten.pop(TOPICS[index], None)
            message = a_message(TOPICS[index], b".", retained=kind == 3)
            key = b"key" if kind == 4 else b""
            placed.append(Placed(message, head + number, 5.0, 10.0, key, kind != 1, kind != 2))
            if message.retained and amount % 3 == 0:
                batch.cleared.append((message.topic, head + number))
        batch.head = head + len(placed)
        if amount % 5 == 0:
            batch.states = {("odd", TOPICS[amount % 3]): b"." * (amount % 2)}
        if amount % 7 == 0:
            batch.keys_until = head
        if amount == 17:
            batch.forgotten_until = head
        if amount > 20:  # a log has let go of its oldest
            oldest = sorted(model.kept)[: amount - 20]
            batch.gone.evicted += oldest
            for offset in oldest:
                topic = model.kept[offset]
                batch.gone.losses[topic] = max(offset, model.lost[topic])
        if amount == 19:
            of = {*model.kept.values(), *(each.message.topic for each in placed)}
            for topic in set(model.lost) - of - set(batch.gone.losses):
                batch.gone.forgotten[topic] = None
                batch.forgotten_until = max(batch.forgotten_until, model.lost[topic])
        return batch

    def do(self, step: Step) -> None:
        verb, amount, entries = step
        getattr(self, verb)(amount, entries)

    def write(self, amount: int, entries: list[tuple[int, int]]) -> None:
        batch = self.batch(amount, entries)
        self.store.write(batch)
        self.model.take(batch)
        self.told = self.model.head

    def one_by_one(self, amount: int, entries: list[tuple[int, int]]) -> None:
        """Write so many lone messages that the row of the store has to follow."""
        for topic, kind in entries[:1]:
            for _ in range(HEAD_LAG * (amount % 3 + 1) // 2):
                self.write(0, [(topic, kind)])

    def fail(self, amount: int, entries: list[tuple[int, int]]) -> None:
        """Let a batch fail, and open the file anew."""
        batch = self.failing("before" if amount % 2 else "after", amount, entries)
        doubtful = {each.message.topic: self.model.lost.get(each.message.topic, 0) for each in batch.placed}
        lost = {
            **doubtful,
            **{topic: max(doubtful.get(topic, 0), lost) for topic, lost in batch.gone.losses.items()},
        }
        kept = [
            Placed(a_message(topic, b".", retained=True), self.model.retained[topic], 5.0, 10.0)
            for topic in doubtful
            if topic in self.model.retained
        ]
        self.store.recover(lost, kept)
        assert self.store.head == self.model.head
        self.owed = batch.gone

    def failing(self, when: str, amount: int, entries: list[tuple[int, int]]) -> Batch:
        batch = self.batch(amount, entries)
        self.has_failed = True
        with self.disk.torn(when), pytest.raises(sqlite3.OperationalError):
            self.store.write(batch)
        return batch

    def fail_and_kill(self, amount: int, entries: list[tuple[int, int]]) -> None:
        self.fail_for_good(amount, entries)
        self.kill(0, [])

    def fail_and_close(self, amount: int, entries: list[tuple[int, int]]) -> None:
        self.fail_for_good(amount, entries)
        self.close(0, [])

    def fail_for_good(self, amount: int, entries: list[tuple[int, int]]) -> None:
        """Let a batch fail, and do not take it back: it may be there, and nobody was told of it."""
        when = "before" if amount % 2 else "after"
        batch = self.failing(when, amount, entries)
        if when == "after":
            self.model.take(batch)
        else:
            self.owed = batch.gone

    def kill(self, amount: int, entries: list[tuple[int, int]]) -> None:
        files = self.files()
        self.leave()
        self.place(files)
        self.open()

    def kill_before_the_note(self, amount: int, entries: list[tuple[int, int]]) -> None:
        noted = self.files()["-lock"]
        self.write(amount, entries)
        files = self.files()
        self.leave()
        self.place({**files, "-lock": noted})
        self.open()

    def close(self, amount: int, entries: list[tuple[int, int]]) -> None:
        self.store.close()
        self.open()

    def remember(self, amount: int, entries: list[tuple[int, int]]) -> None:
        self.copy = self.files()

    def older_copy(self, amount: int, entries: list[tuple[int, int]]) -> None:
        """End, and go on with a copy that was made once, or without the write-ahead log."""
        files = self.files()
        older = {**(self.copy or files), "-lock": files["-lock"]}
        if amount % 2:
            older = {"": files[""], "-lock": files["-lock"]}
        self.leave()
        self.place(older)
        self.open_with_losses()

    def power_cut(self, amount: int, entries: list[tuple[int, int]]) -> None:
        """End with the machine: with durability normal, the last of what was written may be gone."""
        files = self.files()
        if self.durability == "normal" and amount % 2:
            files["-wal"] = files["-wal"][: len(files["-wal"]) * amount // 40]
        self.boot += 1
        self.leave()
        self.place(files)
        self.open_with_losses()

    def open_with_losses(self) -> None:
        """Open a file that may have lost what somebody was told of, and make the model what it says."""
        told = {offset: topic for offset, topic in self.model.kept.items() if offset <= self.told}
        self.open()
        store = self.store
        assert store.head >= self.told
        connection = store.connection
        names = dict(connection.execute("SELECT id, name FROM topics"))
        lost = dict(connection.execute("SELECT name, evicted_until FROM topics"))
        kept = {
            offset: names[number]
            for offset, number in connection.execute("SELECT offset, topic_id FROM messages")
        }
        for offset, topic in told.items():
            assert offset in kept or offset <= max(store.forgotten_until, lost.get(topic, 0))
        newest = dict(connection.execute("SELECT topic, max(offset) FROM retained GROUP BY topic"))
        states = {
            (kind, name): value
            for kind, name, value in connection.execute("SELECT kind, name, value FROM states")
        }
        self.model = Model(store.head, kept, lost, store.forgotten_until, newest, states)
        self.owed = Journal()
        self.told = store.head
        self.copy = {}

    def files(self) -> dict[str, bytes]:
        found = {}
        for suffix in SUFFIXES:
            path = self.path.with_name(self.path.name + suffix)
            if path.exists():
                found[suffix] = path.read_bytes()
        return found

    def place(self, files: dict[str, bytes]) -> None:
        self.number += 1
        for suffix, data in files.items():
            self.path.with_name(self.path.name + suffix).write_bytes(data)

    def leave(self) -> None:
        """Let go of files that are copied already."""
        self.store.close()


VERBS = {
    "write": 8,
    "one_by_one": 1,
    "fail": 2,
    "fail_and_kill": 1,
    "fail_and_close": 1,
    "kill": 2,
    "kill_before_the_note": 1,
    "close": 1,
    "remember": 1,
    "older_copy": 1,
    "power_cut": 1,
}
EXACT = {"write", "one_by_one", "kill", "kill_before_the_note", "close", "fail_and_kill", "fail_and_close"}
"""Behind these the file is what the model is, unless a batch has failed and is owed."""

ENTRIES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=4)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([verb for verb, weight in VERBS.items() for _ in range(weight)]),
        st.integers(0, 30),
        ENTRIES,
    ),
    min_size=1,
    max_size=14,
)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["full", "normal"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
@example(steps=[("one_by_one", 2, [(0, 0)]), ("kill", 0, []), ("write", 30, [(0, 0)]), ("kill", 0, [])])
@example(steps=[("fail_and_close", 0, [(0, 1)]), ("kill", 0, [])])  # what nobody was told of is no damage
@example(steps=[("write", 0, [(0, 0)]), ("remember", 0, []), ("write", 0, [(0, 0)]), ("older_copy", 0, [])])
def test_a_file_is_what_was_written_however_it_was_left(durability: str, steps: list[Step]) -> None:
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as monkeypatch:
        shelf = Shelf(Path(directory), durability, monkeypatch)
        try:
            for step in steps:
                shelf.do(step)
                if step[0] in EXACT and shelf.owed.is_empty():
                    shelf.check()
        finally:
            shelf.store.close()
