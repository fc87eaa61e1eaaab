"""`extra-broker compact`."""

import sqlite3
from pathlib import Path

import pytest

from broker.commands.compact import run
from broker.commands.options import UsageError
from broker.commands.storing import open_store
from broker.engines.batch import Batch, Placed
from broker.engines.store import Store
from extra.pubsub.journal import Journal
from tests.unit.broker.commands.stores import contents, make_store
from tests.unit.pubsub.material import a_message


def test_a_store_that_has_lost_most_becomes_small(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_store(tmp_path / "store.db")
    with open_store(str(path)) as store:
        count = 1000
        store.write(
            Batch(
                8 + count, [Placed(a_message("x", b"." * 1000), 8 + each, 0.0, 0.0) for each in range(count)]
            )
        )
        gone = Journal()
        gone.evicted = list(range(9, 8 + count))
        store.write(Batch(8 + count, [], gone))
    before, size = contents(path), path.stat().st_size
    assert run(["--store", str(path)]) == 0
    assert contents(path) == before
    assert path.stat().st_size < size / 4
    assert capfd.readouterr().out.startswith(f"{path} has {path.stat().st_size:,} bytes, and had ")


def test_a_store_that_is_open_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_store(tmp_path / "store.db")
    with open_store(str(path)):
        assert run(["--store", str(path)]) == 1
    assert "in use" in capfd.readouterr().err


def test_what_fails_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store(tmp_path / "store.db")
    opened = Store(str(path))
    opened.open("")
    reader = sqlite3.connect(path)
    reader.execute("PRAGMA max_page_count")
    opened.close()
    reader.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("broker.engines.connecting.BUSY_TIMEOUT_S", 0.0)
    assert run(["--store", str(path)]) == 1
    assert "another program has locked it" in capfd.readouterr().err
    reader.close()


def test_help_and_wrong_calls(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capfd.readouterr().out.startswith("Usage: extra-broker compact")
    with pytest.raises(UsageError, match="takes no argument"):
        run(["x"])
    assert run(["--store", str(tmp_path / "nowhere.db")]) == 1
    assert "no such file" in capfd.readouterr().err
