"""A disk that fails or stands still when it is told to, in front of SQLite's statements."""

import sqlite3
from threading import Event
from typing import Any, Final

__all__ = ["Disk", "error_of"]

HOLD_LIMIT_S: Final = 20.0

CHANGES: Final = ("DELETE", "INSERT", "UPDATE")
"""What begins a transaction and commits it by itself, where there is none."""


def error_of(name: str) -> sqlite3.OperationalError:
    """Return an error of SQLite with a technical name, as the module makes it."""
    error = sqlite3.OperationalError(f"made up: {name}")
    error.sqlite_errorname = name
    return error


class Disk:
    """Opens databases; a test makes statements fail or wait. `statements` has what was executed, in order."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.failing: dict[str, str] = {}
        self.raising: BaseException | None = None
        self._released = Event()
        self._released.set()

    def connect(self, uri: str) -> sqlite3.Connection:
        if "connect" in self.failing:
            raise error_of(self.failing["connect"])
        connection = sqlite3.connect(
            uri, isolation_level=None, check_same_thread=False, uri=True, factory=WatchedConnection
        )
        connection.disk = self
        return connection

    def fail(self, start: str, name: str = "SQLITE_IOERR_WRITE") -> None:
        """Let every statement that starts like this fail, or "connect", until `mend`."""
        self.failing[start] = name

    def mend(self) -> None:
        self.failing.clear()
        self.raising = None

    def hold(self) -> None:
        """Let every COMMIT wait for `release`."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def count(self, start: str) -> int:
        """Return how many statements that start like this have been executed."""
        return sum(statement.startswith(start) for statement in self.statements)

    def pass_statement(self, statement: str) -> None:
        if statement == "COMMIT":
            assert self._released.wait(HOLD_LIMIT_S), "a COMMIT was held for ever"
        for start, name in self.failing.items():
            if statement.startswith(start):
                raise error_of(name)
        if self.raising is not None:
            raise self.raising
        self.statements.append(statement)


class WatchedConnection(sqlite3.Connection):
    """A connection whose statements pass a `Disk`."""

    disk: Disk

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # Any: as sqlite3 has it
        is_by_itself = not self.in_transaction and sql.startswith(CHANGES)
        for statement in ("BEGIN", sql, "COMMIT") if is_by_itself else (sql,):
            if statement != "ROLLBACK":  # the way back is never barred
                self.disk.pass_statement(statement)
        return super().execute(sql, parameters)
