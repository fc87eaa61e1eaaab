"""The socket that workers share, and how their ends are told. The rest needs processes: tests/e2e."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest

from extra.commands.options import OptionError, RunOptions
from extra.commands.workers import Supervisor, Worker, ending_of, listening_sockets, supervise

ADDRESSES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def test_sockets_listen_where_the_options_say(tmp_path: Path) -> None:
    with ExitStack() as stack:
        (bound,) = listening_sockets(RunOptions(port=0), stack)
        socket.create_connection(bound.getsockname()).close()
        (same,) = listening_sockets(RunOptions(fd=bound.fileno()), stack)
        assert same.getsockname() == bound.getsockname()
    path = tmp_path / "s"
    for _ in range(2):
        with ExitStack() as stack:
            listening_sockets(RunOptions(uds=str(path)), stack)
            with pytest.raises(OSError, match="in use"):
                listening_sockets(RunOptions(uds=str(path)), stack)
        assert not path.exists()


def test_path_that_nobody_listens_on_any_more_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with ExitStack() as stack:
        assert listening_sockets(RunOptions(uds=path), stack)


def test_what_is_no_socket_or_has_become_another_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("kept")
    with ExitStack() as stack, pytest.raises(OSError, match="in use"):
        listening_sockets(RunOptions(uds=str(path)), stack)
    assert path.read_text() == "kept"
    path.unlink()
    with ExitStack() as stack:
        assert listening_sockets(RunOptions(uds=str(path)), stack)
        path.rename(tmp_path / "ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_host_with_several_addresses_has_a_socket_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(family, socket.SOCK_STREAM, 6, "", (host, 0)) for family, host in ADDRESSES]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    with ExitStack() as stack:
        sockets = listening_sockets(RunOptions(host="both", port=0), stack)
        assert [(each.family, each.getsockname()[0]) for each in sockets] == ADDRESSES


def test_what_cannot_be_listened_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert supervise("nowhere:app", RunOptions(port=taken.getsockname()[1], workers=2)) == 1
    assert "cannot listen on 127.0.0.1 port" in caplog.text


def test_certificate_that_cannot_be_used_is_told_once() -> None:
    with pytest.raises(OptionError, match="ssl_certfile"):
        supervise("nowhere:app", RunOptions(ssl_certfile="/nowhere.pem", workers=2))


@pytest.mark.parametrize(("code", "words"), [(-9, "SIGKILL"), (0, "exit status 0"), (3, "exit status 3")])
def test_endings(code: int, words: str) -> None:
    assert ending_of(cast("SpawnProcess", SimpleNamespace(exitcode=code))) == words


class FakeProcess:
    """A process that ends when the test says so, or when it is told to."""

    def __init__(self, pid: int, obeys: bool = True) -> None:
        self.pid = pid
        self.sentinel, self._alive = os.pipe()
        self.exitcode: int | None = None
        self.told = 0
        self.obeys = obeys

    def end(self, code: int) -> None:
        if self.exitcode is None:
            self.exitcode = code
            os.close(self._alive)

    def terminate(self) -> None:
        self.told += 1
        if self.obeys or self.told > 1:
            self.end(0)

    def kill(self) -> None:
        self.end(-9)

    def join(self) -> None:
        os.close(self.sentinel)


class FakeWorker:
    """Serves at once, unless it is one of `failing`. `made` has all there have been."""

    made: ClassVar[list["FakeWorker"]]
    failing: ClassVar[tuple[int, ...]]
    obeys: ClassVar[bool]
    when_made: ClassVar[Callable[[int], None]]

    def __init__(self, *_: object) -> None:
        self.made.append(self)
        number = len(self.made)
        self.pipe, self.theirs = Pipe()
        self.is_ready = False
        self.process = FakeProcess(number, self.obeys)
        if number in self.failing:
            self.process.end(1)
        else:
            self.theirs.send_bytes(b"1")
        type(self).when_made(number)

    hear = Worker.hear


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeWorker]]:
    FakeWorker.made, FakeWorker.failing, FakeWorker.obeys = [], (), True
    monkeypatch.setattr("extra.commands.workers.Worker", FakeWorker)
    monkeypatch.setattr("extra.commands.workers.RETRY_S", 0.001)
    yield FakeWorker
    for each in FakeWorker.made:
        each.pipe.close()
        each.theirs.close()


def supervised(workers: int = 2) -> int:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ExitStack() as stack:
        options = RunOptions(port=0, workers=workers)
        status = Supervisor("a:b", options, listening_sockets(options, stack)).run()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return status


def tell() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_worker_that_dies_is_replaced_and_all_end_with_a_signal(
    workers: type[FakeWorker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def when_made(number: int) -> None:
        if number == 2:
            workers.made[0].process.end(-9)
        elif number == 3:
            tell()

    workers.when_made = when_made
    assert supervised() == 0
    assert [each.process.exitcode for each in workers.made] == [-9, 0, 0]


def test_application_that_cannot_be_served_ends_it(
    workers: type[FakeWorker], caplog: pytest.LogCaptureFixture
) -> None:
    workers.failing, workers.when_made = (1,), lambda number: None
    assert supervised() == 1
    assert "before it served" in caplog.text
    assert all(each.process.exitcode is not None for each in workers.made)


def test_second_signal_cuts(workers: type[FakeWorker], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    workers.obeys = False

    def when_made(number: int) -> None:
        if number == 2:
            tell()
            tell()

    workers.when_made = when_made
    assert supervised() == 0
    assert [each.process.told for each in workers.made] == [2, 2]


def test_worker_that_cannot_serve_later_on_is_tried_again(workers: type[FakeWorker]) -> None:
    workers.failing = (3,)

    def when_made(number: int) -> None:
        if number == 2:
            workers.made[0].process.end(0)
        elif number == 4:
            tell()

    workers.when_made = when_made
    assert supervised() == 0
    assert [each.process.exitcode for each in workers.made] == [0, 0, 1, 0]
