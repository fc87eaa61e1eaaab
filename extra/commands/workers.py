"""Several processes that serve one application on one listening socket: `--workers`.

The parent listens, starts the workers, and starts another when one ends; the kernel gives each connection to
one of them. A worker is a fresh interpreter that imports the application itself: nothing is shared but the
socket, so each has a memory, and a broker, of its own.

A pipe lies between the parent and each worker. The worker sends one byte through it when it serves, and ends
when the parent's end is closed: so no worker outlives a parent that was killed. One that ends without having
served is a mistake in the application: of the first ones it ends everything, later on the next try comes
`RETRY_S` later.

SIGTERM or SIGINT to the parent lets all finish, a second one cuts. Ctrl-C on a terminal reaches the workers
as well, which leave it to the parent.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

from extra.commands.logs import set_up_log
from extra.commands.options import RunOptions
from extra.commands.running import SIGNALS, announce, loop_factory, place_of, serve
from extra.commands.tls import tls_context
from extra.servers.server import identity, is_answered

__all__ = ["Supervisor", "supervise"]

logger = logging.getLogger("extra.commands")

RETRY_S: Final = 1.0
"""Before a worker is started in place of one that has ended without having served."""

GRACE_S: Final = 5.0
"""What workers have to end beyond timeout_graceful_shutdown, which they keep themselves."""


def supervise(target: str, options: RunOptions) -> int:
    """Run `options.workers` workers until a signal ends them, and return the exit status as `run` does."""
    tls_context(options)  # what is wrong with it is said once, and here
    with ExitStack() as stack:
        try:
            listening = listening_sockets(options, stack)
        except OSError as error:
            logger.error("cannot listen on %s: %s", place_of(options), error.strerror or error)
            return 1
        return Supervisor(target, options, listening).run()


def listening_sockets(options: RunOptions, stack: ExitStack) -> list[socket.socket]:
    """Return sockets that listen where the options say, one for each address of a host.

    They are closed with `stack`, and the path of a Unix socket is removed with it. Raises OSError.
    """
    if options.fd >= 0:
        return [stack.enter_context(socket.socket(fileno=os.dup(options.fd)))]
    sockets = []
    if options.uds:
        if is_answered(options.uds):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        if Path(options.uds).is_socket():  # of one that has ended without a farewell; nothing else gives way
            os.unlink(options.uds)
        bound = stack.enter_context(socket.socket(socket.AF_UNIX))
        bound.bind(options.uds)
        stack.callback(remove, options.uds, identity(options.uds))
        sockets.append(bound)
    else:
        places = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, _, _, address in dict.fromkeys(places):
            bound = stack.enter_context(socket.socket(family, kind))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the other has one of its own
            bound.bind(address)
            sockets.append(bound)
    for bound in sockets:
        bound.listen(options.backlog)
    return sockets


def remove(path: str, made: tuple[int, int] | None) -> None:
    """Remove what was made at `path`, unless somebody else has taken it over."""
    if identity(path) == made:
        with suppress(FileNotFoundError):
            os.unlink(path)


class Worker:
    """One process, as its parent sees it."""

    def __init__(self, target: str, options: RunOptions, listening: list[socket.socket]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.is_ready = False
        self.process: SpawnProcess = context.Process(
            target=work, args=(target, options, listening, theirs), name="extra-worker"
        )
        self.process.start()
        theirs.close()

    def hear(self) -> None:
        """Take what it has sent: that it serves, or nothing more."""
        try:
            self.pipe.recv_bytes()
            self.is_ready = True
        except (EOFError, OSError):
            self.pipe.close()


class Supervisor:
    """The parent of the workers. Runs in the main thread, and takes the signals."""

    def __init__(self, target: str, options: RunOptions, listening: list[socket.socket]) -> None:
        self._target = target
        self._options = options
        self._listening = listening
        self._workers: list[Worker] = []
        self._told = 0  # to end, so often
        self._retry_at: float | None = None
        self._announced = False

    def run(self) -> int:
        """Start them, and stay until they have ended. Returns the exit status."""
        wakened, waker = socket.socketpair()
        with wakened, waker:
            for end in (wakened, waker):
                end.setblocking(False)
            before = [(number, signal.signal(number, self._note)) for number in SIGNALS]
            waker_before = signal.set_wakeup_fd(waker.fileno())
            try:
                return self._run(wakened)
            finally:
                signal.set_wakeup_fd(waker_before)
                for number, handler in before:
                    signal.signal(number, handler)
                for worker in self._workers:
                    worker.process.kill()
                    worker.process.join()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal. What it means is done in `_run`, which it wakes."""
        self._told += 1

    def _run(self, wakened: socket.socket) -> int:
        for _ in range(self._options.workers):
            self._start()
        while not self._told:
            self._wait(wakened, None if self._retry_at is None else self._retry_at - monotonic())
            if not self._replace():
                return 1
        logger.info("shutting down")
        self._end(wakened)
        logger.info("stopped")
        return 0

    def _start(self) -> None:
        self._workers.append(Worker(self._target, self._options, self._listening))

    def _wait(self, wakened: socket.socket, timeout_s: float | None) -> None:
        """Wait until a worker says or does something, a signal comes, or the time is over."""
        pipes = {worker.pipe: worker for worker in self._workers if not worker.pipe.closed}
        sentinels = [worker.process.sentinel for worker in self._workers]
        limit_s = None if timeout_s is None else max(timeout_s, 0)
        for each in connection.wait([wakened, *sentinels, *pipes], limit_s):
            if isinstance(each, socket.socket):
                with suppress(BlockingIOError):
                    wakened.recv(1024)
            elif isinstance(each, Connection):
                pipes[each].hear()
        if not self._announced and all(worker.is_ready for worker in self._workers):
            self._announced = True
            address = self._listening[0].getsockname()
            shown = address if isinstance(address, str) else (address[0], address[1])
            announce(f"with {len(self._workers)} workers", shown, self._options)

    def _replace(self) -> bool:
        """Start a worker for each that has ended; False when the application cannot be served at all."""
        if self._told:
            return True
        for worker in self._workers[:]:
            if worker.process.exitcode is None:
                continue
            self._workers.remove(worker)
            worker.pipe.close()
            if worker.is_ready:
                level = logging.WARNING if worker.process.exitcode else logging.INFO
                logger.log(level, "worker %d has ended (%s)", worker.process.pid, ending_of(worker.process))
                self._start()
            elif not self._announced:
                logger.error("a worker has ended before it served: see above")
                return False
            else:
                self._retry_at = monotonic() + RETRY_S
        if self._retry_at is not None and monotonic() >= self._retry_at:
            self._retry_at = None
            while len(self._workers) < self._options.workers:
                self._start()
        return True

    def _end(self, wakened: socket.socket) -> None:
        """Let all finish, until it has taken too long or another signal comes, which cuts."""
        deadline = monotonic() + self._options.timeout_graceful_shutdown + GRACE_S
        told = 0
        while self._workers:
            while told < min(self._told, 2):
                told += 1
                for worker in self._workers:
                    worker.process.terminate()
            left_s = deadline - monotonic()
            if left_s <= 0:
                return  # `run` kills what is left
            self._wait(wakened, left_s)
            self._workers = [worker for worker in self._workers if worker.process.exitcode is None]


def ending_of(process: SpawnProcess) -> str:
    """Return how a process has ended, in words."""
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def work(target: str, options: RunOptions, listening: list[socket.socket], pipe: Connection) -> None:
    """Serve, in a worker. Ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the terminal it comes to the parent as well
    set_up_log(options.log_level, options.log_config)

    def began(stop: Callable[[], None]) -> None:
        asyncio.get_running_loop().add_reader(pipe.fileno(), partial(orphaned, stop))
        pipe.send_bytes(b"1")
        logger.info("worker %d serves", os.getpid())

    def orphaned(stop: Callable[[], None]) -> None:
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        stop()

    serving = serve(target, options, sockets=listening, signals=(signal.SIGTERM,), began=began)
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        status = runner.run(serving)
    raise SystemExit(status)
