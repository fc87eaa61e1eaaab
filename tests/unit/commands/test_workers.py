"""The socket that workers share, and how their ends are told. The rest needs processes: tests/e2e."""

import socket
from contextlib import ExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from extra.commands.options import OptionError, RunOptions
from extra.commands.workers import ending_of, listening_sockets, supervise

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
