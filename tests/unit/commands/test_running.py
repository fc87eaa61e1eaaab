"""Running an application, in the test's own event loop."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from extra import Request, Service, on
from extra.commands.logs import log_access, set_up_log
from extra.commands.options import RunOptions
from extra.commands.running import loop_factory, run, serve, url_of
from tests.fakes.asgi import until


class Hello(Service):
    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.events: list[str] = []

    @on(GET="/")
    async def hello(self) -> str:
        return "hello"

    @on(GET="/wait")
    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")

    @on(GET="/slow")
    async def slow(self) -> str:
        self.begun.set()
        await asyncio.sleep(0.01)
        return "slow"

    async def stop(self) -> None:
        self.events.append("stop")


@asynccontextmanager
async def running(
    application: object, **options: Any
) -> AsyncIterator[tuple[socket.socket, asyncio.Task[int]]]:
    """Run it on a socket, whose other end is given as well as the task that runs it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        task = asyncio.create_task(serve(application, RunOptions(fd=listening.fileno(), **options)))
        try:
            yield listening, task
        finally:
            await asyncio.wait([task])
            for number, handler in before.items():
                signal.signal(number, handler)


async def ask(listening: socket.socket, target: str) -> bytes:
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_application_is_served_until_it_is_told_to_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = Hello()
    async with running(service, headers=(("X-Y", "z"),)) as (listening, task):
        answer = await ask(listening, "/?a=%0A")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"X-Y: z\r\n" in answer
        assert answer.endswith(b"\r\n\r\nhello")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
    assert service.events == ["stop"]
    assert 'GET /?a=%0A" 200 5 bytes' in caplog.text
    assert "serves services on http://127.0.0.1:" in caplog.text


async def test_request_under_way_is_finished() -> None:
    service = Hello()
    async with running(service) as (listening, task):
        answering = asyncio.create_task(ask(listening, "/slow"))
        await service.begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        assert (await answering).endswith(b"slow")
        assert await task == 0


async def test_second_signal_cuts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = Hello()
    async with running(service) as (listening, task):
        answering = asyncio.create_task(ask(listening, "/wait"))
        await service.begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: "shutting down" in caplog.text)
        os.kill(os.getpid(), signal.SIGINT)
        assert await task == 0
        assert await answering == b""
    assert service.events == ["cancelled", "stop"]


async def test_what_cannot_be_run_is_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert await serve("nowhere_at_all:app", RunOptions()) == 1
    assert await serve(Hello, RunOptions(uds=str(tmp_path / "no" / "where"))) == 1

    class Broken(Service):
        async def start(self) -> None:
            raise ZeroDivisionError

    assert await serve(Broken, RunOptions()) == 1
    assert "there is no module 'nowhere_at_all'" in caplog.text
    assert "cannot listen on" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_unix_socket_and_a_port_that_is_picked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for options in (RunOptions(uds=str(tmp_path / "s")), RunOptions(port=0)):
        caplog.clear()
        task = asyncio.create_task(serve(Hello, options))
        await until(lambda: "serves services on" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="no option 'prot'"):
        run(Hello, prot=1)


def test_run_makes_its_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    level = logging.getLogger("extra").level
    assert run("nowhere_at_all:app", loop="asyncio", log_level="error") == 1
    assert logging.getLogger("extra").level == logging.ERROR
    set_up_log(logging.getLevelName(level))
    assert loop_factory("auto") is not loop_factory("asyncio")


def test_access_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_access(Request("GET", b"/a\x1b[2J\n", client="x:1"), 200, 5, 0.0012)
    assert caplog.messages == ['x:1 "GET /a\\x1b[2J\\n" 200 5 bytes 1.2 ms']


def test_urls() -> None:
    assert url_of("::1", 5) == "http://[::1]:5"
    assert url_of("127.0.0.1", 5) == "http://127.0.0.1:5"
