"""The file beside a store that says who has it open, and how far it has come.

`PATH-lock` is locked with flock(2) for as long as a process has the store open: the lock goes with the
process, however that ends, while the file stays. It is a file of its own because closing any descriptor of
the database would let go of SQLite's own locks.

It notes the highest offset of which the broker has told anybody. That is no second copy of the truth: it is
not synced, and what a power cut leaves of it may be old. But a process that was killed leaves it as it was,
and so a store that has lost its write-ahead log, or was replaced by an older copy, is found out instead of
giving an offset to two messages.
"""

import fcntl
import os
from contextlib import suppress
from typing import Final

__all__ = ["LockFile", "Locked"]

WIDTH_BYTES: Final = 96
"""The note is padded to this, so that a short one overwrites a long one and nothing has to grow."""


class Locked(Exception):
    """Another process has the store open. `holder` is its process id, or empty where that is not known."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by process {holder or 'unknown'}")
        self.holder = holder


class LockFile:
    """A lock, and a note of an epoch and an offset in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._pid = 0

    def acquire(self) -> None:
        """Take the lock, without waiting. Raises Locked, OSError."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _words(descriptor)[:1]
            os.close(descriptor)
            raise Locked(holder[0] if holder else "") from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._pid = os.getpid()

    def release(self) -> None:
        """Let go of the lock. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def noted(self, epoch: str) -> int:
        """Return the offset that was noted for this epoch, or 0."""
        words = _words(self._descriptor)
        if len(words) == 3 and words[1] == epoch and words[2].isascii() and words[2].isdigit():
            return int(words[2])
        return 0

    def note(self, epoch: str, offset: int) -> None:
        """Note how far the store has come. A disk that does not take it is no failure of the store."""
        line = f"{self._pid} {epoch} {offset}".encode()
        with suppress(OSError):
            os.pwrite(self._descriptor, line.ljust(WIDTH_BYTES - 1) + b"\n", 0)


def _words(descriptor: int) -> list[str]:
    return os.pread(descriptor, WIDTH_BYTES, 0).decode("ascii", "replace").split()
