"""The file: opening it, what is refused and why, batches, and what is never given to two messages."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from broker.engines.batch import Batch, Placed
from broker.engines.failures import StoreRefused
from broker.engines.lockfile import LockFile
from broker.engines.schema import APPLICATION_ID, HEAD_LAG, VERSION
from broker.engines.store import RESERVED_OFFSETS, Store
from extra.pubsub.journal import Journal
from tests.fakes.disk import Disk
from tests.unit.pubsub.material import a_message

Open = Callable[..., Store]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def open_store(path: Path, disk: Disk) -> Iterator[Open]:
    """Opens stores at `path`, marked as open, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(durability: str = "full", epoch: str = "e1") -> Store:
            store = Store(str(path), durability, disk.connect)
            store.open(epoch)
            stack.callback(store.close)
            store.begin()
            return store

        yield open_one
        disk.mend()


def placed(
    offset: int, topic: str = "a", *, retained: bool = False, key: bytes = b"", kept: bool = True
) -> Placed:
    return Placed(a_message(topic, b"payload", retained=retained), offset, 5.0, 10.0 + offset, key, kept)


def write(store: Store, *topics: str, **more: object) -> None:
    """Write a batch with a message on each topic, behind what is there."""
    entries = [placed(store.head + number, topic) for number, topic in enumerate(topics, 1)]
    gone = Journal()
    for name, value in more.items():
        setattr(gone, name, value)
    store.write(Batch(store.head + len(topics), entries, gone))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Read the file as anybody else does."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def abandon(store: Store) -> None:
    """Leave a store as a process does that is killed: but for its locks, which go with the process."""
    store._disconnect()
    store._lock.release()


def refusal(path: Path | str, connect: Callable[[str], sqlite3.Connection] | None = None) -> str:
    with pytest.raises(StoreRefused) as caught:
        Store(str(path), "full", connect).open("e9")
    assert "store.path" in str(caught.value)
    return str(caught.value)


# Opening


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(open_store: Open, path: Path) -> None:
    store = open_store()
    assert (store.epoch, store.head, store.forgotten_until) == ("e1", 0, 0)
    assert path.stat().st_mode & 0o077 == 0
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]


def test_an_empty_file_is_as_good_as_none(open_store: Open, path: Path) -> None:
    path.touch()
    assert open_store().epoch == "e1"


def test_a_store_goes_on_where_it_was(open_store: Open) -> None:
    store = open_store()
    write(store, "a", "b")
    store.close()
    store.close()
    again = open_store(epoch="e2")
    assert (again.epoch, again.head) == ("e1", 2)


def test_a_name_with_everything_in_it_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a b?c=d#e%20f\udcff.db"
    store = Store(str(path))
    store.open("e1")
    store.close()
    assert path.exists()


def test_a_relative_path_is_one_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("store.db")
    store.open("e1")
    monkeypatch.chdir("/")
    store.begin()
    store.close()


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("dear diary, " * 100)
    assert "no store of extra-broker" in refusal(other)
    assert other.read_text().startswith("dear diary")


@pytest.mark.parametrize("application", [0, 7])
def test_a_database_of_another_program_is_refused_and_left_alone(path: Path, application: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.execute(f"PRAGMA application_id = {application}")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


def test_a_newer_version_is_refused(open_store: Open, path: Path) -> None:
    open_store().close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    said = refusal(path)
    assert f"schema {VERSION + 1}" in said
    assert "upgrade" in said


def test_a_store_that_is_open_is_refused_with_who_has_it(open_store: Open, path: Path) -> None:
    store = open_store()
    assert f"in use by process {os.getpid()}" in refusal(path)
    write(store, "a")  # and it has not lost its locks over that
    store.close()
    open_store()


def test_a_lock_without_a_name_is_refused_too(path: Path) -> None:
    lock = LockFile(f"{path}-lock")
    lock.acquire()
    assert "in use by another process" in refusal(path)
    lock.release()


def test_a_directory_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)
    assert "there is no directory" in refusal(tmp_path / "nowhere" / "store.db")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_READONLY_DIRECTORY", "cannot be written to"),
        ("SQLITE_CANTOPEN", "cannot be opened"),
        ("SQLITE_IOERR_READ", "the disk reports an error (SQLITE_IOERR_READ)"),
        ("SQLITE_CORRUPT_INDEX", "is damaged"),
        ("SQLITE_NOTADB", "is damaged"),
        ("SQLITE_BUSY", "another program has locked it"),
    ],
)
def test_an_error_of_opening_is_told(path: Path, disk: Disk, name: str, said: str) -> None:
    disk.fail("PRAGMA journal_mode", name)
    assert said in refusal(path, disk.connect)
    disk.mend()
    store = Store(str(path), "full", disk.connect)
    store.open("e1")  # nothing is held on to
    store.close()


def test_a_directory_that_cannot_be_written_to_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, who runs tests in containers, no directory is read-only."""

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    said = refusal(path)
    assert "-lock cannot be written: Permission denied" in said
    assert "directory" in said


def test_a_place_without_a_write_ahead_log_is_refused(path: Path, disk: Disk) -> None:
    """A file system of another machine: SQLite stays in the mode that it was in."""

    class Elsewhere(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if sql == "PRAGMA journal_mode = WAL" else sql)

    said = refusal(path, lambda uri: sqlite3.connect(uri, uri=True, isolation_level=None, factory=Elsewhere))
    assert "file system" in said


@pytest.mark.parametrize("what", ["cut short", "overwritten", "no row"])
def test_damage_is_refused_with_the_way_out(open_store: Open, path: Path, what: str) -> None:
    store = open_store()
    for _ in range(5):
        write(store, *["a"] * 50)
    store.close()
    size = path.stat().st_size
    if what == "cut short":
        os.truncate(path, size - 4096)
    elif what == "overwritten":
        with path.open("r+b") as file:
            file.seek(size - 4096)
            file.write(b"\x17" * 4096)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM store")
            connection.commit()
    said = refusal(path)
    assert "is damaged" in said
    assert "backup" in said
    assert "export --store" in said


# Batches


def test_a_batch_is_what_is_in_the_file(open_store: Open, path: Path) -> None:
    store = open_store()
    store.write(
        Batch(
            4,
            [
                placed(1, "a"),
                placed(2, "b", retained=True),
                placed(3, "a", key=b"k"),
                placed(4, "c", kept=False),
            ],
            forgotten_until=0,
        )
    )
    assert rows(path, "SELECT offset, name, time FROM messages JOIN topics ON topic_id = id") == [
        (1, "a", 11.0),
        (2, "b", 12.0),
        (3, "a", 13.0),
    ]
    assert rows(path, "SELECT offset, topic FROM retained") == [(2, "b")]
    assert rows(path, "SELECT offset, digest, time FROM keys") == [(3, b"k", 13.0)]
    assert rows(path, "SELECT name, evicted_until FROM topics") == [("a", 0), ("b", 0), ("c", 4)]
    assert rows(path, "SELECT head, is_open FROM store") == [(4, 1)]
    assert store.file_bytes + store.wal_bytes > 0


def test_what_has_gone_goes_from_the_file(open_store: Open, path: Path) -> None:
    store = open_store()
    write(store, *"abcabcabcabc")
    store.write(Batch(13, [placed(13, "a", retained=True, key=b"k")]))
    gone = Journal()
    gone.evicted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    gone.losses = {"a": 7, "b": 11}
    gone.unretained = [13]
    store.write(
        Batch(
            14, [placed(14, "d", retained=True)], gone, cleared=[("d", 14)], forgotten_until=5, keys_until=13
        )
    )
    assert rows(path, "SELECT offset FROM messages") == [(10,), (12,), (13,), (14,)]
    assert rows(path, "SELECT name, evicted_until FROM topics") == [("a", 7), ("b", 11), ("c", 0), ("d", 0)]
    assert rows(path, "SELECT * FROM retained") == []
    assert rows(path, "SELECT * FROM keys") == []
    assert rows(path, "SELECT head, forgotten_until FROM store") == [(14, 5)]


def test_a_topic_that_is_forgotten_goes_and_comes_back_under_another_number(
    open_store: Open, path: Path
) -> None:
    store = open_store()
    write(store, "a", "b")
    write(store, evicted=[1], forgotten={"a": None, "never": None})
    assert rows(path, "SELECT id, name FROM topics") == [(2, "b")]
    write(store, "a")
    assert rows(path, "SELECT id, name FROM topics") == [(2, "b"), (3, "a")]


def test_of_what_is_not_kept_no_older_loss_is_told_later(open_store: Open, path: Path) -> None:
    """The log in memory loses such messages one by one, the file has lost them all from the start."""
    store = open_store()
    store.write(Batch(3, [placed(number, "a", kept=False) for number in (1, 2, 3)]))
    write(store, "b", losses={"a": 1}, evicted=[1])
    assert rows(path, "SELECT name, evicted_until FROM topics") == [("a", 3), ("b", 0)]
    write(store, losses={"a": 9})
    assert rows(path, "SELECT evicted_until FROM topics WHERE name = 'a'") == [(9,)]


def test_a_batch_that_fails_changes_nothing(open_store: Open, path: Path, disk: Disk) -> None:
    store = open_store()
    write(store, "a")
    for statement in ("BEGIN", "INSERT INTO topics", "INSERT INTO messages", "UPDATE store", "COMMIT"):
        disk.fail(statement)
        with pytest.raises(sqlite3.OperationalError):
            write(store, "b", evicted=[9])
        disk.mend()
        assert (store.head, store.numbers) == (1, {"a": 1})
    write(store, "c")
    assert rows(path, "SELECT offset, name FROM messages JOIN topics ON topic_id = id") == [
        (1, "a"),
        (2, "c"),
    ]


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_durability_is_what_sqlite_is_told(open_store: Open, durability: str) -> None:
    store = open_store(durability)
    write(store, "a")
    level = store.connection.execute("PRAGMA synchronous").fetchone()[0]
    assert level == {"full": 2, "normal": 1}[durability]


def test_a_message_alone_is_a_transaction_of_one_statement(open_store: Open, path: Path, disk: Disk) -> None:
    store = open_store()
    write(store, "a")
    disk.statements.clear()
    write(store, "a")
    assert [statement.split(" (")[0] for statement in disk.statements] == [
        "BEGIN",
        "INSERT INTO messages",
        "COMMIT",
    ]
    assert rows(path, "SELECT head FROM store") == [(0,)]
    abandon(store)
    assert open_store().head == 2


def test_the_head_is_written_where_no_message_tells_it(open_store: Open, path: Path) -> None:
    store = open_store()
    for batch in (
        Batch(1, [placed(1, kept=False)]),
        Batch(2, [placed(2), placed(3, kept=False)]),
        Batch(4, [placed(4)], forgotten_until=1),
    ):
        store.write(batch)
        abandon(store)
        store = open_store()
        assert store.head == batch.head
    write(store, "a")
    write(store, evicted=[2, 4, 5])
    assert rows(path, "SELECT offset FROM messages") == []
    abandon(store)
    assert open_store().head == 5


def test_the_row_of_the_store_stays_near_the_head(open_store: Open, path: Path) -> None:
    store = open_store()
    written = set()
    for _ in range(HEAD_LAG + 2):
        write(store, "a")
        ((head,),) = rows(path, "SELECT head FROM store")
        assert isinstance(head, int)
        written.add(head)
        assert store.head - HEAD_LAG < head <= store.head
    assert written == {0, HEAD_LAG}
    write(store, *"a" * HEAD_LAG)
    assert rows(path, "SELECT head FROM store") == [(store.head,)]


def test_a_file_that_was_closed_says_where_it_is_without_its_messages(open_store: Open, path: Path) -> None:
    """Somebody may have deleted them, and taken the file to another machine."""
    store = open_store()
    write(store, "a", "a")
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM messages")
    os.remove(f"{path}-lock")
    assert open_store().head == 2


# Recovering


def test_a_file_is_opened_anew_and_goes_on(open_store: Open, path: Path, disk: Disk) -> None:
    store = open_store()
    write(store, "a")
    disk.fail("COMMIT", "SQLITE_FULL")
    with pytest.raises(sqlite3.OperationalError):
        write(store, "a")
    disk.fail("INSERT INTO scratch", "SQLITE_FULL")
    with pytest.raises(sqlite3.OperationalError):
        store.recover({})
    disk.mend()
    store.recover({})
    write(store, "b")
    assert rows(path, "SELECT offset, name FROM messages JOIN topics ON topic_id = id") == [
        (1, "a"),
        (2, "b"),
    ]
    assert rows(path, "SELECT * FROM scratch") == []


def test_a_batch_that_failed_and_is_in_the_file_all_the_same_is_taken_back(
    open_store: Open, path: Path
) -> None:
    """The last sync can fail when all has been written."""
    store = open_store()
    write(store, "a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO topics VALUES (2, 'b', 0, 0)")
        connection.execute("INSERT INTO messages SELECT 2, 2, 0, 0, '', NULL, NULL, 0, 0, ''")
        connection.execute("INSERT INTO retained SELECT 2, 'b', 0, 0, '', NULL, NULL, 0, 0, ''")
        connection.execute("INSERT INTO keys VALUES (2, '', 0)")
        connection.execute("UPDATE store SET head = 2")
    store.recover({})
    write(store, "c", "b")
    assert rows(path, "SELECT offset, name FROM messages JOIN topics ON topic_id = id") == [
        (1, "a"),
        (2, "c"),
        (3, "b"),
    ]
    assert rows(path, "SELECT count(*) FROM retained UNION ALL SELECT count(*) FROM keys") == [(0,), (0,)]


def test_another_file_in_its_place_is_not_written_to(open_store: Open, path: Path, tmp_path: Path) -> None:
    store = open_store()
    write(store, "a")
    other = Store(str(tmp_path / "other.db"))
    other.open("e2")
    other.close()
    os.replace(tmp_path / "other.db", path)
    with pytest.raises(StoreRefused, match="no longer the file"):
        store.recover({})
    os.unlink(path)
    with pytest.raises(StoreRefused, match="has gone"):
        store.recover({})
    assert not path.exists()


def test_a_file_that_was_moved_away_is_noticed(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    monkeypatch.setattr(store, "_looked_at", 0.0)
    os.rename(path, path.with_suffix(".old"))
    with pytest.raises(StoreRefused, match="has gone"):
        write(store, "a")


def test_an_older_copy_in_its_place_is_not_gone_on_with(open_store: Open, path: Path) -> None:
    store = open_store()
    write(store, "a", "a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM messages WHERE offset = 2")
        connection.execute("UPDATE store SET head = 1")
    with pytest.raises(StoreRefused, match="no longer the file"):
        store.recover({})


# What an offset stands for


def restarted_machine(path: Path) -> None:
    """Let the file have been open when the machine was started last."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE store SET boot = 'an earlier one'")


def test_a_killed_process_loses_no_offset(open_store: Open, path: Path) -> None:
    for durability in ("full", "normal"):
        store = open_store(durability)
        write(store, "a", "b")
        head = store.head
        abandon(store)
        again = open_store(durability)
        assert (again.head, again.forgotten_until) == (head, 0)
        again.close()


def test_after_a_power_cut_normal_goes_on_behind_what_may_be_lost(
    open_store: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store("normal")
    write(store, "a", "b")
    abandon(store)
    restarted_machine(path)
    with caplog.at_level(logging.WARNING):
        again = open_store("normal")
    assert (again.head, again.forgotten_until) == (RESERVED_OFFSETS + 2, RESERVED_OFFSETS + 2)
    assert "may have lost messages after offset 2" in caplog.text
    assert "gap" in caplog.text
    write(again, "c")
    assert again.head == RESERVED_OFFSETS + 3
    again.close()
    assert open_store("normal").head == RESERVED_OFFSETS + 3


def test_after_a_power_cut_full_has_lost_nothing(open_store: Open, path: Path) -> None:
    store = open_store("full")
    write(store, "a", "b")
    abandon(store)
    restarted_machine(path)
    again = open_store("normal")
    assert (again.head, again.forgotten_until) == (2, 0)


def test_a_file_that_was_closed_in_order_has_lost_nothing(open_store: Open, path: Path) -> None:
    store = open_store("normal")
    write(store, "a", "b")
    store.close()
    restarted_machine(path)
    assert open_store("normal").head == 2


def test_where_no_boot_has_a_name_each_start_may_be_another_one(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    store = open_store("normal")
    write(store, "a")
    abandon(store)
    assert open_store("normal").head == RESERVED_OFFSETS + 1


def test_offsets_are_reserved_in_strides_and_synced(open_store: Open, path: Path, disk: Disk) -> None:
    store = open_store("normal")
    disk.statements.clear()
    for _ in range(3):
        write(store, "a")
    assert disk.count("PRAGMA synchronous = FULL") == 1
    assert disk.statements[-1] == "COMMIT"
    store.write(Batch(RESERVED_OFFSETS + 1, [placed(RESERVED_OFFSETS + 1)]))
    assert disk.count("PRAGMA synchronous = FULL") == 1
    store.write(Batch(RESERVED_OFFSETS + 2, [placed(RESERVED_OFFSETS + 2)]))
    assert disk.count("PRAGMA synchronous = FULL") == 2
    assert rows(path, "SELECT reserved_until FROM store") == [(2 * RESERVED_OFFSETS + 2,)]


def test_a_file_that_has_lost_its_write_ahead_log_is_found_out(
    open_store: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store("full")
    before = path.read_bytes()
    write(store, "a", "b", "c")
    abandon(store)
    path.write_bytes(before)  # as it stood when the log was begun
    Path(f"{path}-wal").unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING):
        again = open_store("full")
    assert (again.head, again.forgotten_until) == (3, 3)
    assert "write-ahead log" in caplog.text
