"""A real `extra-broker` in a process of its own, on a port that it picks.

    with Daemon("--config", "broker.toml") as daemon:
        publish(daemon.url, "news", "hello")

It runs the package that the tests have imported, compiled or not. Unless a test expects trouble, the broker
has to end with 0 when it is told to, and to have logged nothing above `info` by then.
"""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import IO, Final, Self

from extra.payloads import JSONValue

__all__ = ["END_LIMIT_S", "START_LIMIT_S", "Daemon", "environment", "read_lines"]

START_LIMIT_S: Final = 20.0
END_LIMIT_S: Final = 20.0
QUIET_LEVELS: Final = ("debug", "info")

PLACE: Final = Path(__file__).resolve().parents[2]
"""Where this was imported from: `extra` and `broker` stand beside each other there."""


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child that imports what we have imported, and finds no settings there."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EXTRA_BROKER_")}
    path = os.pathsep.join([str(PLACE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"} | variables


class Daemon:
    """A running broker. `lines` is what it has said on standard error so far."""

    def __init__(self, *options: str) -> None:
        """Start it with these options, and wait until it listens."""
        self.expects_trouble = False
        self.is_told_to_end = False
        self.lines: list[str] = []
        self._said = Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "broker", "--port", "0", "--log-format", "json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        announced: queue.Queue[str] = queue.Queue()  # the URL, and that there is no more to come
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            Thread(target=read_lines, args=(self.process.stdout, announced.put)),
            Thread(target=read_lines, args=(self.process.stderr, self._hear)),
        ]
        for reader in self._readers:
            reader.start()
        self.url = announced.get(timeout=START_LIMIT_S)
        if not self.url:
            self._cut()
            raise ChildProcessError(f"the broker did not start: {self.lines}")
        self.port = int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> list[dict[str, JSONValue]]:
        """What was logged so far, line by line."""
        return [json.loads(line) for line in self.lines if line]

    @property
    def troubles(self) -> list[str]:
        """What was logged above `info`, or is no line of the log at all."""
        return [line for line in self.lines if line and not is_quiet(line)]

    def wait_for(self, words: str) -> None:
        """Wait until it has logged these words."""
        with self._said:
            assert self._said.wait_for(lambda: any(words in line for line in self.lines), START_LIMIT_S)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to end."""
        self.is_told_to_end = True
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and return the exit status; negative for a signal."""
        try:
            status = self.process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._cut()
            raise
        self._join()
        return status

    def stop(self) -> None:
        """End it in order, unless it has been told to, and hold it to its promises."""
        if not self.is_told_to_end:
            self.signal()
        status = self.wait()
        assert status == 0, f"exit status {status}: {self.lines[-20:]}"
        assert self.expects_trouble or not self.troubles, "\n".join(self.troubles)

    def kill(self) -> None:
        """Cut it off, as the system does when memory is short: it gets no say in it."""
        self.is_told_to_end = True
        self._cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        elif self.is_running:
            self._cut()

    def _hear(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()

    def _cut(self) -> None:
        self.process.kill()
        self.process.wait()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()


def read_lines(stream: IO[str], take: Callable[[str], None]) -> None:
    """Pass on each line without its end, and an empty one when the stream ends."""
    with stream:
        for line in stream:
            take(line.rstrip("\n"))
    take("")


def is_quiet(line: str) -> bool:
    try:
        return json.loads(line)["level"] in QUIET_LEVELS
    except (ValueError, KeyError, TypeError):
        return False
