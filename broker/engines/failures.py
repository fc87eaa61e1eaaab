"""What can go wrong with a store, as it is told to people."""

import sqlite3
from typing import Final

from extra.errors import EngineError

__all__ = ["StoreRefused", "is_damage", "is_full", "reason_of"]


class StoreRefused(EngineError):
    """The store cannot be used. Says which file, what about it, which setting, and the way out."""


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error says that the file is not what it should be, rather than that it cannot be
    reached.
    """
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "decode to UTF-8" in str(error)


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether an error says that the disk is full."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


_REASONS: Final = (
    ("SQLITE_FULL", "the disk is full"),
    ("SQLITE_READONLY", "the file or its directory cannot be written to"),
    ("SQLITE_CANTOPEN", "the file, or one beside it, cannot be opened"),
    ("SQLITE_BUSY", "another program has locked it"),
    ("SQLITE_PERM", "permission denied"),
    ("SQLITE_IOERR", "the disk reports an error"),
    ("SQLITE_CORRUPT", "it is damaged"),
    ("SQLITE_NOTADB", "it is damaged"),
    ("SQLITE_NOMEM", "there is no memory left"),
)


def reason_of(error: BaseException) -> str:
    """Return what an error of SQLite or of the system means, for people, with its technical name."""
    name = getattr(error, "sqlite_errorname", None)
    if not isinstance(error, sqlite3.Error):
        return str(error)
    for start, text in _REASONS:
        if name is not None and name.startswith(start):
            return f"{text} ({name})"
    return f"{error} ({name})" if name else str(error)
