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
from extra.commands.logs import set_up_log
from extra.commands.options import OptionError, RunOptions
from extra.commands.running import (
    loop_factory,
    proxies_of,
    run,
    serve,
    until_set,
    url_of,
    watched_by,
)
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


class Rooted(Service):
    @on(GET="/where")
    async def where(self, request: Request) -> str:
        return f"{request.root_path} {request.path}"


def rooted(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]


@pytest.mark.parametrize("application", [Rooted, rooted])
async def test_root_path_is_told_to_applications_of_every_kind(application: object) -> None:
    async with running(application, root_path="/sub") as (listening, _):
        assert b"\n/sub /where" in await ask(listening, "/where")
        os.kill(os.getpid(), signal.SIGTERM)


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


@pytest.mark.parametrize("reload", [False, True])
async def test_signal_ends_a_start_that_does_not_end_itself(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, reload: bool
) -> None:
    caplog.set_level(logging.INFO)
    begun, events = asyncio.Event(), []

    class Waiting(Service):
        async def start(self) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def stop(self) -> None:
            events.append("stop")

    async with running(Waiting, reload=reload, reload_dirs=(str(tmp_path),)) as (_, task):
        await begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            assert await task == 0
    assert events == ["stop"]
    assert caplog.messages == ["stopped"]


async def test_start_that_others_cancel_is_cancelled() -> None:
    class Waiting(Service):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async with running(Waiting) as (_, task):
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


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


def test_urls() -> None:
    assert url_of("::1", 5) == "http://[::1]:5"
    assert url_of("127.0.0.1", 5) == "http://127.0.0.1:5"
    assert url_of("::1", 5, secure=True) == "https://[::1]:5"


def test_workers_and_reloading_need_a_name() -> None:
    for options in ({"workers": 2}, {"reload": True}):
        with pytest.raises(OptionError, match="module:app"):
            run(Hello, **options)


def test_directories_that_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert watched_by(RunOptions()).directories == (tmp_path,)
    assert watched_by(RunOptions(app_dir="a")).directories == (tmp_path / "a",)
    assert watched_by(RunOptions(app_dir="a", reload_dirs=(".",))).directories == (tmp_path,)
    with pytest.raises(OptionError, match=r"reload_dirs: .*nowhere"):
        watched_by(RunOptions(reload_dirs=("nowhere",)))


def test_proxies_are_those_of_the_option_the_environment_or_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    usual = proxies_of(RunOptions())
    assert usual is not None
    assert usual.trusts("127.0.0.1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    told = proxies_of(RunOptions())
    assert told is not None
    assert (told.trusts("127.0.0.1"), told.trusts("192.0.2.1")) == (False, True)
    assert proxies_of(RunOptions(proxy_headers=False)) is None
    with pytest.raises(OptionError):
        proxies_of(RunOptions(forwarded_allow_ips="x"))


async def test_work_ends_with_the_event_or_by_what_it_raises() -> None:
    event = asyncio.Event()

    async def work() -> None:
        event.set()
        await asyncio.Event().wait()

    async def fail() -> None:
        raise ZeroDivisionError

    await until_set(event, work())
    event.clear()
    with pytest.raises(ZeroDivisionError):
        await until_set(event, fail())
