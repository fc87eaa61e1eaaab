"""Reading a store back: everything as it was written, or refused."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.engines import restoring
from broker.engines.batch import Batch, Placed
from broker.engines.failures import StoreRefused
from broker.engines.records import topic_checksum
from broker.engines.restoring import restore, restore_keys
from broker.engines.store import Store
from extra.pubsub import Log, Message, Policy, PolicyTable, RetainedMessages
from extra.pubsub.journal import Journal
from tests.fakes.disk import Disk
from tests.unit.pubsub.material import a_message

NOW = 5_000.0
TIME = 1_900_000_000.0


class Shelf:
    """A store, and the log and retained messages that it is read back into."""

    def __init__(self, path: str, disk: Disk) -> None:
        self.store = Store(path, "full", disk.connect)
        self.store.open("e1")
        self.store.begin()
        self.log = Log("e1", PolicyTable(Policy(messages=1000)))
        self.kept = RetainedMessages()

    def write(
        self, *messages: Message, age_s: float = 0.0, gone: Journal | None = None, key: bytes = b""
    ) -> None:
        """Write messages that are `age_s` seconds old by `TIME`."""
        head = self.store.head
        placed = [
            Placed(message, head + number, 0.0, TIME - age_s, key)
            for number, message in enumerate(messages, 1)
        ]
        self.store.write(Batch(head + len(messages), placed, gone or Journal()))

    def change(self, statement: str) -> None:
        self.store.connection.execute(statement)

    def restore(self) -> None:
        restore(self.store, self.log, self.kept, NOW, TIME)

    def refusal(self) -> str:
        with pytest.raises(StoreRefused) as caught:
            self.restore()
        assert "is damaged" in str(caught.value)
        return str(caught.value)

    def messages(self) -> list[Message]:
        return self.log.read(["#"], 0, 1 << 62, 1000, NOW, TIME).messages

    def retained(self) -> list[Message]:
        search = self.kept.matching(["#"])
        assert search.advance(NOW, TIME)
        return search.messages()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def shelf(tmp_path: Path, disk: Disk) -> Iterator[Shelf]:
    with ExitStack() as stack:
        shelf = Shelf(str(tmp_path / "store.db"), disk)
        stack.callback(shelf.store.close)
        yield shelf


def test_messages_are_where_they_were(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    shelf.write(a_message("a", b"1"), a_message("b", b"2", "text"))
    shelf.write(a_message("a", b"3", expires_at=TIME + 5.0), age_s=2.0)
    with caplog.at_level(logging.INFO):
        shelf.restore()
    found = [(each.topic, each.offset, each.payload, each.kind, each.expires_at) for each in shelf.messages()]
    assert found == [
        ("a", 1, b"1", "binary", 0.0),
        ("b", 2, b"2", "text", 0.0),
        ("a", 3, b"3", "binary", TIME + 5.0),
    ]
    assert {each.epoch for each in shelf.messages()} == {"e1"}
    assert shelf.log.head == 3
    assert "holds 3 messages on 2 topics and 0 retained ones, up to offset 3" in caplog.text


def test_what_was_lost_is_still_known(shelf: Shelf) -> None:
    gone = Journal()
    gone.losses = {"a": 1}
    gone.evicted = [1]
    shelf.write(a_message("a"), a_message("b"), a_message("a"))
    shelf.write(gone=gone)
    shelf.store.write(Batch(10, forgotten_until=4))
    shelf.store.forgotten_until = 4
    shelf.restore()
    assert (shelf.log.head, shelf.log.forgotten_until) == (10, 4)
    assert shelf.log.topics["a"].evicted_until == 1


def test_the_store_knows_its_topics_again(shelf: Shelf) -> None:
    shelf.write(a_message("a"), a_message("b"))
    shelf.store.numbers = {}
    shelf.restore()
    assert shelf.store.numbers == {"a": 1, "b": 2}
    shelf.write(a_message("c"))
    assert shelf.store.numbers["c"] == 3


def test_retained_messages_are_the_same_as_in_the_log_or_alone(shelf: Shelf) -> None:
    gone = Journal()
    gone.evicted = [1]
    shelf.write(a_message("a", retained=True), a_message("b", retained=True), age_s=7.0)
    shelf.write(gone=gone)
    shelf.restore()
    alone, shared = shelf.retained()
    assert (alone.topic, alone.offset, alone.epoch, alone.time) == ("a", 1, "e1", TIME - 7.0)
    assert [shared] == shelf.messages()
    assert shared is shelf.messages()[0]


def test_of_two_retained_messages_of_a_topic_the_newer_counts(shelf: Shelf) -> None:
    """The older one was to be deleted with the next batch."""
    shelf.write(a_message("a", retained=True), a_message("a", retained=True))
    shelf.kept.journal = Journal()
    shelf.restore()
    assert [each.offset for each in shelf.retained()] == [2]
    assert shelf.kept.journal.unretained == [1]


def test_what_limits_no_longer_allow_goes_and_is_noted(shelf: Shelf) -> None:
    shelf.log = Log("e1", PolicyTable(Policy(messages=1)))
    shelf.log.journal = Journal()
    shelf.write(a_message("a"), a_message("a"))
    shelf.restore()
    assert [each.offset for each in shelf.messages()] == [2]
    assert (shelf.log.journal.evicted, shelf.log.journal.losses) == ([1], {"a": 1})


# Clocks


def test_a_message_is_as_old_as_it_was(shelf: Shelf) -> None:
    shelf.log = Log("e1", PolicyTable(Policy(age_s=10.0)))
    shelf.write(a_message("a"), age_s=10.0)
    shelf.write(a_message("a"), age_s=9.0)
    shelf.restore()
    assert [(each.offset, each.appended_at) for each in shelf.messages()] == [(2, NOW - 9.0)]


def test_a_clock_that_was_set_back_keeps_messages_longer_and_never_shorter(shelf: Shelf) -> None:
    """From the future is new; and none counts as younger than one before it, so that they go in order."""
    shelf.write(a_message("a"), age_s=5.0)
    shelf.write(a_message("a"), age_s=-3600.0)
    shelf.write(a_message("a"), age_s=4.0)
    shelf.restore()
    assert [each.appended_at for each in shelf.messages()] == [NOW - 5.0, NOW, NOW]
    assert [each.time for each in shelf.messages()] == [TIME - 5.0, TIME + 3600.0, TIME - 4.0]


# Keys


def test_keys_that_still_count_come_back_with_their_age(shelf: Shelf) -> None:
    for age_s, key in ((120.0, b"old"), (60.0, b"k1"), (-5.0, b"k2")):
        shelf.write(a_message("a"), age_s=age_s, key=key)
    assert restore_keys(shelf.store, NOW, TIME, 120.0, 100) == [(b"k1", 2, NOW - 60.0), (b"k2", 3, NOW)]
    assert restore_keys(shelf.store, NOW, TIME, 120.0, 1) == [(b"k2", 3, NOW)]
    assert restore_keys(shelf.store, NOW, TIME, 120.0, 0) == []


# Damage


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE messages SET payload = 'x' WHERE offset = 2", "offset 2"),
        ("UPDATE messages SET topic_id = 1 WHERE offset = 2", "offset 2"),
        ("UPDATE messages SET offset = 7 WHERE offset = 2", "offset 7"),
        ("UPDATE messages SET kind = X'ff' WHERE offset = 2", "offset 2"),
        ("UPDATE messages SET content_type = CAST(X'ff' AS TEXT) WHERE offset = 2", "UTF-8"),
        ("DELETE FROM topics WHERE name = 'b'", "offset 2 is of no topic"),
        ("UPDATE topics SET evicted_until = 1 WHERE name = 'b'", "topic number 2"),
        ("UPDATE topics SET name = 'a' WHERE name = 'b'", "topic number 2"),
        ("UPDATE topics SET name = X'00' WHERE name = 'b'", "topic number 2"),
        ("UPDATE retained SET topic = 'a'", "offset 3"),
        ("UPDATE retained SET offset = 9", "offset 9"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(shelf: Shelf, statement: str, said: str) -> None:
    shelf.write(a_message("a"), a_message("b", b"payload"), a_message("c", retained=True))
    shelf.change(statement)
    assert said in shelf.refusal()


def test_a_topic_that_is_there_twice_is_refused(shelf: Shelf) -> None:
    shelf.write(a_message("a"))
    row = (2, "a", 0, topic_checksum(2, "a", 0))
    shelf.store.connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?)", row)
    assert "topic number 2" in shelf.refusal()


def test_what_is_above_the_head_is_refused(shelf: Shelf) -> None:
    shelf.write(a_message("a"), a_message("a", retained=True))
    shelf.store.head = 1
    assert "above the head" in shelf.refusal()


def test_an_error_of_reading_is_no_damage(shelf: Shelf, disk: Disk) -> None:
    disk.fail("SELECT", "SQLITE_IOERR_READ")
    with pytest.raises(sqlite3.OperationalError):
        shelf.restore()
    disk.fail("SELECT", "SQLITE_CORRUPT")
    assert "is damaged" in shelf.refusal()
    disk.mend()


def test_how_far_it_has_come_is_told_for_a_large_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(restoring, "TOLD_AT_MESSAGES", 2)
    shelf.write(*[a_message("a") for _ in range(5)])
    with caplog.at_level(logging.INFO):
        shelf.restore()
    for words in ("reading 5 messages", "read 2 of 5 messages", "read 4 of 5 messages"):
        assert words in caplog.text
