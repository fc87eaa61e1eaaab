"""Small states beside the log, on their way to the file: see `Engine.keep_state`.

What is kept waits, the newest value of each kind and name, until a batch takes all of it. When that batch is
in the file, those who wait for what it took are told; when it fails, what it took waits again, behind what is
newer.

Invariant between calls: a value is in `waiting`, in the batch that is being written, or in the file.
"""

import asyncio
from collections import deque
from typing import final

from broker.engines.records import ROW_LIMIT_BYTES
from extra.errors import EngineUnavailable, ExtraError, InvalidCommand, LimitExceeded

__all__ = ["States"]

Name = tuple[str, str]
"""Kind and name."""


@final
class States:
    """What is to be written, what is being written, and who waits for it. For one event loop."""

    def __init__(self, value_limit_bytes: int = ROW_LIMIT_BYTES) -> None:
        self.value_limit_bytes = value_limit_bytes
        self.waiting: dict[Name, bytes] = {}
        self.written_total = 0
        self._restored: dict[str, list[tuple[str, bytes]]] = {}
        self._taken: dict[Name, bytes] = {}
        self._kept_count = 0
        self._taken_count = 0
        self._settled_count = 0
        self._turns: deque[tuple[int, asyncio.Future[None]]] = deque()

    def restore(self, kind: str, name: str, value: bytes) -> None:
        """Take in what a former life of the process has left."""
        self._restored.setdefault(kind, []).append((name, value))

    def restored(self, kind: str) -> list[tuple[str, bytes]]:
        """Give out what was left of a kind, once, in the order of the names."""
        return sorted(self._restored.pop(kind, []))

    def keep(self, kind: str, name: str, value: bytes) -> None:
        """Let a value wait for the next batch.

        Raises:
            InvalidCommand: the kind or name cannot be written, and would fail all that is written with it.
            LimitExceeded: the value is larger than a row can be.
        """
        try:
            (kind + name).encode()
        except UnicodeEncodeError:
            raise InvalidCommand(f"{kind} {name[:80]!r} cannot be written as UTF-8") from None
        if len(value) > self.value_limit_bytes:
            raise LimitExceeded(
                f"{kind} {name[:80]!r} of {len(value)} bytes is more than the {self.value_limit_bytes}"
                " of a store"
            )
        self.waiting[kind, name] = value
        self._kept_count += 1

    def take(self) -> dict[Name, bytes]:
        """Give all that waits to a batch. `written` or `failed` says what has become of it."""
        self._taken, self.waiting = self.waiting, {}
        self._taken_count = self._kept_count
        return self._taken

    def written(self) -> None:
        """What was taken is in the file."""
        self.written_total += len(self._taken)
        self._taken = {}
        self._settled_count = self._taken_count
        while self._turns and self._turns[0][0] <= self._settled_count:
            _, turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)

    def failed(self, error: ExtraError) -> None:
        """What was taken is not in the file, and waits again."""
        self._taken.update(self.waiting)
        self.waiting, self._taken = self._taken, {}
        while self._turns:
            _, turn = self._turns.popleft()
            if not turn.done():
                turn.set_exception(error)

    async def settled(self, trouble: str) -> None:
        """Wait until all that has been kept so far is in the file. Cancel-safe.

        Raises:
            EngineUnavailable: it could not be written; or it waits, and there is `trouble`.
        """
        if self._settled_count == self._kept_count:
            return
        if trouble:
            raise EngineUnavailable(trouble)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append((self._kept_count, turn))
        await turn
