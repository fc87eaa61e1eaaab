"""Reading a store from outside."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.commands.storing import open_store
from broker.engines.batch import Batch, Placed
from broker.engines.failures import StoreRefused
from broker.engines.reading import StoreReader, TopicSummary
from broker.engines.schema import HEAD_LAG, VERSION
from broker.engines.store import Store
from tests.fakes.disk import Disk
from tests.unit.broker.commands.stores import EPOCH, fill, make_store
from tests.unit.pubsub.material import a_message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store.db")


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def refusal(path: Path) -> str:
    with pytest.raises(StoreRefused) as caught, StoreReader(str(path)):
        pass
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_everything_can_be_read(path: Path) -> None:
    with StoreReader(str(path)) as reader:
        assert (reader.epoch, reader.head, reader.forgotten_until) == (EPOCH, 7, 6)
        assert reader.counts() == (4, 1)
        assert [(each.topic, each.row[0], each.damage) for each in reader.messages()] == [
            ("a", 3, ""),
            ("a", 4, ""),
            ("b", 5, ""),
            ("d", 7, ""),
        ]
        assert [(each.topic, each.row[0]) for each in reader.retained()] == [("c", 1)]
        assert list(reader.losses()) == [("c", 1, ""), ("b", 2, ""), ("a", 0, ""), ("d", 0, "")]
        assert reader.topics() == [
            TopicSummary("a", 2, 20, 4, 0, False),
            TopicSummary("b", 1, 2, 5, 2, False),
            TopicSummary("c", 0, 0, 0, 1, True),
            TopicSummary("d", 1, 1, 7, 0, False),
        ]


def test_states_can_be_read_where_there_are_any(path: Path) -> None:
    with StoreReader(str(path)) as reader:
        assert list(reader.states()) == [("group", "g", "")]
    change(path, "UPDATE states SET name = 'h'")
    with StoreReader(str(path)) as reader:
        assert [damage for _, _, damage in reader.states()] != [""]
    change(path, "DROP TABLE states")
    change(path, "PRAGMA user_version = 1")
    with StoreReader(str(path)) as reader:
        assert list(reader.states()) == []


def test_a_topic_of_which_only_a_retained_message_is_left_is_one(path: Path) -> None:
    change(path, "DELETE FROM topics WHERE name = 'c'")
    with StoreReader(str(path)) as reader:
        assert TopicSummary("c", 0, 0, 0, 0, True) in reader.topics()


def test_of_retained_messages_the_newest_of_each_topic_counts(path: Path) -> None:
    """Those that it has replaced are deleted with the next second."""
    with open_store(str(path)) as store:
        message = a_message("c", retained=True)
        store.write(Batch(8, [Placed(message, 8, 0.0, 0.0)]))
    with StoreReader(str(path)) as reader:
        assert reader.counts() == (5, 1)
        assert [each.row[0] for each in reader.retained()] == [8]
        assert [each.row[0] for each in reader.retained(with_replaced=True)] == [1, 8]


def test_it_is_read_while_a_broker_writes_and_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(str(path))
    store.open(EPOCH)
    store.begin()
    fill(store)
    with StoreReader(str(path)) as reader:
        before = reader.counts()
        store.write(Batch(8, [Placed(a_message("a"), 8, 0.0, 0.0)]))
        assert reader.counts() == before
        assert [each.row[0] for each in reader.messages()] == [3, 4, 5, 7]
    with StoreReader(str(path)) as reader:
        assert [each.row[0] for each in reader.messages()] == [3, 4, 5, 7, 8]
    store.close()


def test_what_a_killed_broker_leaves_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(str(path))
    store.open(EPOCH)
    store.begin()
    fill(store)
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    store.close()
    with StoreReader(str(copy)) as reader:
        assert reader.counts() == (4, 1)


def test_on_a_disk_that_cannot_be_written_to_it_is_read_all_the_same(path: Path) -> None:
    """As root, who runs tests in containers, no directory is read-only."""
    disk = Disk()

    def connect(uri: str) -> sqlite3.Connection:
        disk.mend()
        if "immutable=1" not in uri:
            disk.fail("SELECT", "SQLITE_CANTOPEN")
        return disk.connect(uri)

    with StoreReader(str(path), connect) as reader:
        assert reader.counts() == (4, 1)
    Path(f"{path}-wal").touch()  # which somebody may be writing to
    with pytest.raises(StoreRefused, match="cannot be opened"), StoreReader(str(path), connect):
        pass


@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("UPDATE messages SET payload = 'x' WHERE offset = 4", "offset 4"),
        ("DELETE FROM topics WHERE name = 'a'", "offset 4 is of no topic"),
        (f"UPDATE store SET head = 6 - {HEAD_LAG}", "above the head"),
    ],
)
def test_what_is_damaged_is_told_where_it_stands(path: Path, statement: str, damage: str) -> None:
    change(path, statement)
    with StoreReader(str(path)) as reader:
        found = list(reader.messages())
        assert [each.row[0] for each in found] == [3, 4, 5, 7]
        assert any(damage in each.damage for each in found)
        assert any(not each.damage for each in found)


def test_damage_to_topics_and_retained_messages_is_told(path: Path) -> None:
    change(path, "UPDATE topics SET evicted_until = 5 WHERE name = 'b'")
    change(path, "UPDATE retained SET topic = 'x'")
    with StoreReader(str(path)) as reader:
        assert [bool(damage) for _, _, damage in reader.losses()] == [False, True, False, False]
        assert "offset 1" in next(reader.retained()).damage


def test_in_a_file_of_an_older_version_the_head_is_what_its_row_says(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
        connection.execute("UPDATE store SET head = 6")
    with StoreReader(str(path)) as reader:
        assert reader.head == 6
        assert "above the head" in [each.damage for each in reader.messages()][-1]
    os.remove(f"{path}-lock")
    store = Store(str(path))
    store.open(EPOCH)
    assert store.head == 6
    store.close()


def test_behind_what_cannot_be_read_it_goes_on(tmp_path: Path) -> None:
    """A page of the table is overwritten: those on the others are found."""
    path = tmp_path / "store.db"
    store = Store(str(path))
    store.open(EPOCH)
    store.begin()
    count = 2000
    store.write(
        Batch(count, [Placed(a_message("a", b"x" * 100), offset, 0.0, 0.0) for offset in range(1, count + 1)])
    )
    store.close()
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek((pages // 2) * 4096)
        file.write(os.urandom(4096))
    with StoreReader(str(path)) as reader:
        found = list(reader.messages())
    sound = [each.row[0] for each in found if not each.damage]
    assert any("cannot be read" in each.damage for each in found)
    assert sound == sorted(set(sound))
    assert count // 2 < len(sound) < count
    assert sound[-1] == count


def test_the_head_is_known_nearly_where_the_last_messages_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(str(path))
    store.open(EPOCH)
    store.begin()
    for offset in range(1, 101):
        store.write(Batch(offset, [Placed(a_message("a", b"x" * 100), offset, 0.0, 0.0)]))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    with path.open("r+b") as file:
        page = file.read()[(root - 1) * 4096 : root * 4096]
        last = int.from_bytes(page[8:12])  # the page of the greatest offsets, in the header of the root
        file.seek((last - 1) * 4096)
        file.write(os.urandom(4096))
    with StoreReader(str(path)) as reader:
        assert reader.head == 100 + HEAD_LAG
        found = list(reader.messages())
    sound = [each.row[0] for each in found if not each.damage]
    assert sound == list(range(1, len(sound) + 1))
    assert 50 < len(sound) < 100
    assert "cannot be read" in found[len(sound)].damage


def test_what_is_no_store_is_refused(path: Path, tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nowhere.db")
    assert "no such file" in refusal(tmp_path)
    other = tmp_path / "other.db"
    other.write_bytes(b"something else " * 1000)
    assert "no store" in refusal(other)
    empty = tmp_path / "empty.db"
    empty.touch()
    assert "no store" in refusal(empty)
    change(path, f"PRAGMA user_version = {VERSION + 1}")
    assert "newer" in refusal(path)
    change(path, f"PRAGMA user_version = {VERSION}")
    change(path, "DELETE FROM store")
    assert "damaged" in refusal(path)
    change(path, "DROP TABLE store")
    assert "cannot be read" in refusal(path)


def test_a_broken_file_is_refused(path: Path) -> None:
    os.truncate(path, 4096)
    assert "damaged" in refusal(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert "damaged" in refusal(path)
