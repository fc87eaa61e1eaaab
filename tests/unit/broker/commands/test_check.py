"""`extra-broker check`."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.commands import check
from broker.commands.check import run
from broker.commands.options import UsageError
from broker.engines.records import topic_checksum
from tests.unit.broker.commands.stores import make_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store.db")


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_sound_store_is_said_to_be_sound(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", str(path)]) == 0
    assert capfd.readouterr() == (f"{path} has epoch e1 and is at offset 7: it is sound\n", "")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE messages SET time = 1 WHERE offset = 4", "offset 4"),
        ("UPDATE retained SET payload = ''", "offset 1"),
        ("DELETE FROM topics WHERE name = 'd'", "offset 7 is of no topic"),
        ("UPDATE topics SET name = 'x' WHERE name = 'a'", "topic number"),
        (
            f"INSERT INTO topics VALUES (9, 'a', 0, {topic_checksum(9, 'a', 0)})",
            "topic 'a' is there twice",
        ),
        (
            f"INSERT INTO topics VALUES (9, 'x', 8, {topic_checksum(9, 'x', 8)})",
            "topic 'x' has lost what is above the head",
        ),
        ("UPDATE states SET value = x'00'", "group 'g' is not what was written"),
        ("UPDATE states SET value = 'text'", "group 'g' makes no sense"),
        ("DROP TABLE retained", "no such table: retained"),
    ],
)
def test_damage_is_told_with_the_way_out(
    path: Path, capfd: pytest.CaptureFixture[str], statement: str, said: str
) -> None:
    change(path, statement)
    assert run(["--store", str(path)]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "backup" in captured.err
    assert "--damaged" in captured.err


def test_a_broken_structure_is_told(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 4096)
        file.write(os.urandom(4096))
    assert run(["--store", str(path)]) == 1
    assert "is damaged in" in capfd.readouterr().err


def test_of_very_many_damages_the_first_are_told(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "TOLD_LIMIT", 2)
    change(path, "UPDATE messages SET time = 1")
    assert run(["--store", str(path)]) == 1
    told = capfd.readouterr().err
    assert told.count("checksum") == 2
    assert "damaged in 4 places" in told


def test_help_and_wrong_calls(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capfd.readouterr().out.startswith("Usage: extra-broker check")
    with pytest.raises(UsageError, match="takes no argument"):
        run(["x"])
    assert run(["--store", str(tmp_path / "nowhere.db")]) == 1
    assert "no such file" in capfd.readouterr().err
