"""`extra-broker export`. That it can be imported again stands in test_importing.py."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from broker.commands.export import run
from broker.commands.options import UsageError
from broker.commands.streams import StreamError
from tests.unit.broker.commands.stores import TIME, make_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store.db")


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_everything_is_written(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", str(path)]) == 0
    head, *records = lines(capfd.readouterr().out)
    assert head == {
        "op": "store",
        "version": 1,
        "epoch": "e1",
        "head": 7,
        "forgotten_until": 6,
        "messages": 4,
    }
    assert records[:2] == [
        {"op": "topic", "topic": "c", "evicted_until": 1},
        {"op": "topic", "topic": "b", "evicted_until": 2},
    ]
    message = records[2]
    assert message == {
        "op": "message",
        "topic": "a",
        "offset": 3,
        "time": TIME + 3,
        "kind": "text",
        "headers": {"n": "v"},
        "data": "grüße\n",
    }
    assert [record["offset"] for record in records[2:]] == [3, 4, 5, 7, 1]
    assert (records[-1]["op"], records[-1]["retained"]) == ("retained", True)


def test_what_matches_is_written_and_of_what_it_is(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["b", "nowhere", "--store", str(path)]) == 0
    head, *records = lines(capfd.readouterr().out)
    assert head["filters"] == ["b", "nowhere"]
    assert "messages" not in head
    assert [(record["op"], record["topic"]) for record in records] == [("topic", "b"), ("message", "b")]


def test_a_file_is_written_for_its_owner_alone_and_none_is_overwritten(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "export.msgpack"
    words = ["--store", str(path), "--output", str(output), "--format", "msgpack"]
    assert run(words) == 0
    assert output.stat().st_mode & 0o077 == 0
    with output.open("rb") as file:
        assert len(list(msgpack.Unpacker(file))) == 8
    with pytest.raises(StreamError, match="File exists"):
        run(words)


def test_a_disk_that_is_full_is_told(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def to_full(name: str, flags: int, mode: int = 0o777) -> int:
        return opened("/dev/full", os.O_WRONLY) if name.endswith(".jsonl") else opened(name, flags, mode)

    monkeypatch.setattr(os, "open", to_full)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    with pytest.raises(StreamError, match="No space left"):
        run(["--store", str(path), "--output", str(tmp_path / "x.jsonl")])


def test_damage_ends_it_unless_it_is_to_be_left_out(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(path, "UPDATE messages SET payload = 'x' WHERE offset = 4")
    change(path, "UPDATE topics SET evicted_until = 3 WHERE name = 'b'")
    change(path, "UPDATE retained SET time = 0")
    assert run(["--store", str(path)]) == 1
    assert "--damaged" in capfd.readouterr().err
    assert run(["--store", str(path), "--damaged"]) == 1
    captured = capfd.readouterr()
    assert [record.get("offset") for record in lines(captured.out)] == [None, None, 3, 5, 7]
    assert captured.err.count("left out: ") == 3


def test_a_file_that_cannot_be_read_any_further_is_told(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change(path, "DROP TABLE topics")
    assert run(["--store", str(path)]) == 1
    assert "cannot be read" in capfd.readouterr().err
    assert run(["--store", f"{path}.none"]) == 1
    assert "no such file" in capfd.readouterr().err


def test_it_says_so_when_it_writes_to_a_terminal(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["--store", str(path)]) == 0
    assert "--output FILE" in capfd.readouterr().err


def test_help_and_wrong_calls(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capfd.readouterr().out.startswith("Usage: extra-broker export")
    with pytest.raises(UsageError, match="one of jsonl, msgpack"):
        run(["--store", str(path), "--format", "xml"])
    with pytest.raises(UsageError, match="topic filter"):
        run(["#/a", "--store", str(path)])
