"""Noting the signals that end the host, on their way to it.

A host hears of SIGINT and SIGTERM by a handler of its own, and tells applications when all their responses
have ended, which is too late for those that go on until somebody ends them. So a handler stands before the
host's while there is something to be ended: it notes the signal and passes it on.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Watch"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Watch:
    """Calls `noted` in the event loop when the process is told to end, as long as it is entered.

    Outside of the main thread, where handlers cannot be set, it does nothing. What the host has set is called
    as before, and stands again afterwards, unless the host has set something else meanwhile.
    """

    def __init__(self, noted: Callable[[], None]) -> None:
        self._noted = noted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN and before is not None:  # None: it was not set by Python
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._noted)
        before = self._before.get(number)
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
