"""The thread that does what may take as long as a disk does: one call after the other, in the order given."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeVar, final

__all__ = ["Worker"]

logger: Final = logging.getLogger("broker.store")

_T = TypeVar("_T")


@final
class Worker:
    """Runs calls in a thread of its own and tells the event loop of each that it is done."""

    def __init__(self, name: str) -> None:
        """Start the thread. To be made within the event loop that is told, and stopped from it."""
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._own_thread = Thread(target=self._work, name=name, daemon=True)
        self._own_thread.start()

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Run `call` in the thread, and then `done` in the event loop, with what the call has raised."""

        def run() -> None:
            error: Exception | None = None
            try:
                call()
            except Exception as raised:  # noqa: BLE001 - told to whoever gave the call
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(done, error)

        self._calls.put(run)

    async def call(self, call: Callable[[], _T]) -> _T:
        """Run `call` in the thread and return what it returns. Cancelled, it runs to its end all the same."""
        finished: asyncio.Future[_T] = self._loop.create_future()
        answers: list[_T] = []

        def done(error: Exception | None) -> None:
            if finished.done():
                return
            if error is not None:
                finished.set_exception(error)
            else:
                finished.set_result(answers[0])

        self.submit(lambda: answers.append(call()), done)
        return await finished

    def stop(self) -> None:
        """End the thread when it has done what it was given, and wait for that."""
        self._calls.put(None)
        self._own_thread.join()

    def _work(self) -> None:
        while (run := self._calls.get()) is not None:
            run()
