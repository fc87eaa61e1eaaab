"""What can go wrong with a store, as it is told."""

import sqlite3

from broker.engines.failures import is_damage, is_full, reason_of
from tests.fakes.disk import error_of


def test_reasons_are_for_people() -> None:
    assert reason_of(error_of("SQLITE_FULL")) == "the disk is full (SQLITE_FULL)"
    assert reason_of(error_of("SQLITE_MISUSE")) == "made up: SQLITE_MISUSE (SQLITE_MISUSE)"
    assert reason_of(sqlite3.ProgrammingError("closed")) == "closed"
    assert reason_of(OSError("gone")) == "gone"
    assert is_full(error_of("SQLITE_FULL"))
    assert not is_full(error_of("SQLITE_IOERR"))


def test_damage_is_told_from_what_cannot_be_reached() -> None:
    assert is_damage(error_of("SQLITE_CORRUPT_VTAB"))
    assert is_damage(error_of("SQLITE_NOTADB"))
    assert is_damage(sqlite3.OperationalError("Could not decode to UTF-8 column 'name'"))
    assert not is_damage(error_of("SQLITE_IOERR_READ"))
