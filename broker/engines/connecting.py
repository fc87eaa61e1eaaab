"""Connections to the database in a file: how it is opened, and transactions that end whatever happens."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Final

from broker.engines.failures import StoreRefused
from broker.engines.schema import APPLICATION_ID, Statement

__all__ = ["Connect", "Transaction", "boot_of_machine", "connect_to", "execute", "prepare", "run"]

BUSY_TIMEOUT_S: Final = 5.0
"""So long a batch waits for another program that has locked the file, before it fails."""

Connect = Callable[[str], Connection]
"""Opens the database at a URI."""


class Transaction:
    """A transaction from its beginning to its end, or to where it is given up."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:  # something has failed, maybe COMMIT
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")


def run(connection: Connection, statements: Sequence[Statement]) -> None:
    """Run all of the statements or none, also when there is an error.

    One alone is a transaction by itself. Beginning and ending one are statements as well, each of which lets
    go of the interpreter's lock and takes it back, and a batch is often one message.
    """
    if len(statements) == 1:
        execute(connection, statements)
        return
    with Transaction(connection):
        execute(connection, statements)


def execute(connection: Connection, statements: Sequence[Statement]) -> None:
    """Execute statements one after the other, in the transaction that there is."""
    for statement, values in statements:
        connection.execute(statement, values)


def connect_to(uri: str) -> Connection:
    """Open a database at a URI: for any one thread at a time, and transactions are spelt out."""
    return sqlite3.connect(
        uri,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
        uri=True,
    )


def prepare(path: str) -> tuple[int, int]:
    """Make the file if there is none, readable by its owner alone, and return what identifies it.

    Raises:
        StoreRefused: there is something that is no SQLite database, or has another program's name in it.
        OSError: it cannot be made or read.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:  # SQLite has not opened it yet: closing a descriptor would let go of its locks
        header = os.pread(descriptor, 72, 0)
        stat = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if header and header[:16] != b"SQLite format 3\0":
        raise StoreRefused(
            f"{path} is no store of extra-broker: name another file (store.path). If it was one, it is"
            " damaged: put a backup in its place"
        )
    if header[68:72] not in (b"", bytes(4), APPLICATION_ID.to_bytes(4)):
        raise StoreRefused(f"{path} is the database of another program: name another file (store.path)")
    return stat.st_dev, stat.st_ino


def boot_of_machine() -> str:
    """Return what names the time since the machine was started; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
