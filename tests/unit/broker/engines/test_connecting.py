"""Connections, and transactions that end whatever happens."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.engines.connecting import Transaction, boot_of_machine, connect_to, prepare
from broker.engines.failures import StoreRefused
from tests.fakes.disk import Disk


def test_a_transaction_is_kept_or_given_up(tmp_path: Path) -> None:
    disk = Disk()
    with closing(disk.connect(f"file:{tmp_path / 'a.db'}")) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        with Transaction(connection):
            connection.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(ZeroDivisionError), Transaction(connection):
            _ = connection.execute("INSERT INTO numbers VALUES (2)"), 1 / 0
        disk.fail("COMMIT")
        with pytest.raises(sqlite3.OperationalError), Transaction(connection):
            connection.execute("INSERT INTO numbers VALUES (3)")
        disk.mend()
        assert not connection.in_transaction
        assert connection.execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_a_connection_spells_its_transactions_out_and_is_for_any_thread(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    prepare(str(path))
    with closing(connect_to(f"file:{path}?mode=rw")) as connection:
        assert connection.isolation_level is None


def test_a_file_is_made_and_known_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    identity = prepare(str(path))
    assert identity == (path.stat().st_dev, path.stat().st_ino) == prepare(str(path))
    path.write_text("something else altogether")
    with pytest.raises(StoreRefused, match="no store"):
        prepare(str(path))


def test_a_boot_has_one_name_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot_of_machine() == boot_of_machine()

    def refuse(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert boot_of_machine() == ""
