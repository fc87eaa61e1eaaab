"""`extra-broker topics`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.commands.options import UsageError
from broker.commands.topics import is_wanted, run, table
from broker.engines.reading import TopicSummary
from tests.unit.broker.commands.stores import make_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store.db")


def test_topics_are_printed_in_columns(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", str(path)]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "MESSAGES  BYTES  LAST  LOST UP TO     TOPIC",
        "       2     20     4           -     a",
        "       1      2     5           2     b",
        "       0      0     -           1  R  c",
        "       1      1     7           -     d",
    ]


def test_topics_that_match_are_printed_as_json(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["b", "c", "--store", str(path), "--json"]) == 0
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first == {
        "topic": "b",
        "messages": 1,
        "payload_bytes": 2,
        "last_offset": 5,
        "evicted_until": 2,
        "is_retained": False,
    }
    assert (second["topic"], second["is_retained"]) == ("c", True)


def test_nothing_is_printed_where_nothing_matches(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["nowhere", "--store", str(path)]) == 0
    assert capfd.readouterr().out == ""


def test_no_topic_can_forge_a_line() -> None:
    assert table([TopicSummary("a\n\x1b[31mb", 1, 1, 1, 0, False)]).count("\n") == 2


def test_filters_are_those_of_subscriptions() -> None:
    assert is_wanted("a/b", [])
    assert is_wanted("a/b", ["x", "a/+"])
    assert not is_wanted("a/b", ["x", "a"])


def test_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capfd.readouterr().out.startswith("Usage: extra-broker topics")


def test_wrong_calls_are_told(path: Path) -> None:
    with pytest.raises(UsageError, match="topic filter"):
        run(["a/#/b", "--store", str(path)])
    with pytest.raises(UsageError, match="no option"):
        run(["--stroe", str(path)])


def test_a_store_that_cannot_be_read_is_told(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["--store", str(tmp_path / "nowhere.db")]) == 1
    assert "no such file" in capfd.readouterr().err
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE messages")
    assert run(["--store", str(path)]) == 1
    assert "cannot be read" in capfd.readouterr().err
