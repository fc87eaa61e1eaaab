"""A real `extra run` in a process of its own, and what it has logged so far."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Final, Self

from extra.testing.daemon import END_LIMIT_S, START_LIMIT_S, environment, read_lines

__all__ = ["Running"]

SERVES: Final = "serves"


class Running:
    """`python -m extra run ...`, which has to end with 0 when it is told to. `url` is where it listens."""

    def __init__(
        self,
        *words: str,
        cwd: Path,
        pass_fds: Sequence[int] = (),
        variables: dict[str, str] | None = None,
        command: Sequence[str] = ("extra", "run"),
    ) -> None:
        """Start it, and wait until it says that it serves."""
        self.lines: list[str] = []
        self._said = Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command, *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**(variables or {})),
            pass_fds=pass_fds,
        )
        assert self.process.stderr is not None
        self._reader = Thread(target=read_lines, args=(self.process.stderr, self._hear))
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.process.poll() is None:
                    self.process.send_signal(signal.SIGTERM)
                assert self.process.wait(END_LIMIT_S) == 0, self.lines
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join()

    @property
    def url(self) -> str:
        """Where it listens; waits until it says so."""
        line = self.wait_for(" on http")
        return line.partition(" on ")[2].split()[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_for(self, words: str, times: int = 1) -> str:
        """Wait until it has logged these words so many times, and return the last such line."""
        with self._said:
            if not self._said.wait_for(
                lambda: self.count(words) >= times or "" in self.lines, START_LIMIT_S
            ) or not self.count(words):
                raise AssertionError(f"it has not said {words!r}: {self.lines}")
            return [line for line in self.lines if words in line][times - 1]

    def count(self, words: str) -> int:
        """Return how many lines have these words by now."""
        return sum(words in line for line in self.lines)

    def _hear(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()
