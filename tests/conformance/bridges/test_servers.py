"""Services under the servers of others, each a real process, with clients that we did not write."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import websockets

from tests.e2e.daemon import END_LIMIT_S, environment

ROOT = Path(__file__).resolve().parents[3]
HOSTED = "tests.conformance.bridges.hosted"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@contextmanager
def process(*command: str, sock: socket.socket | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run a server until the test is done with it, and end it in order."""
    running = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE if sock is None else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        pass_fds=[] if sock is None else [sock.fileno()],
        cwd=ROOT,
        env=environment(PYTHONPATH=environment()["PYTHONPATH"] + f":{ROOT}"),
        text=True,
    )
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        running.wait(END_LIMIT_S)
    finally:
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


async def check_http(url: str, transport: httpx.AsyncHTTPTransport | None = None) -> None:
    """Ask for what every server has to carry."""
    async with httpx.AsyncClient(base_url=url, timeout=20, transport=transport) as client:
        assert (await client.get("/hello/a%20b")).json()["name"] == "a b"
        assert (await client.post("/size", content=b"x" * 200_000)).json() == 200_000
        assert (await client.get("/stream")).text == "0\n1\n2\n"
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.head("/hello/ann")).status_code == 200


async def check_websocket(port: int) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo") as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"


@pytest.mark.parametrize(
    "command",
    [
        ("uvicorn", f"{HOSTED}:app", "--fd", "{fd}"),
        ("hypercorn", f"{HOSTED}:app", "--bind", "fd://{fd}"),
    ],
    ids=["uvicorn", "hypercorn"],
)
async def test_services_run_under_asgi_servers(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        words = [word.format(fd=listening.fileno()) for word in command]
        with process(*words, sock=listening) as running:
            await check_http(f"http://127.0.0.1:{port}")
            await check_websocket(port)
        assert running.returncode in (0, -signal.SIGTERM)


async def test_services_run_under_granian(tmp_path: Path) -> None:
    """It takes no socket and does not tell which port it has picked, but it can listen on a path."""
    path = str(tmp_path / "granian.sock")
    command = ("granian", f"{HOSTED}:app", "--interface", "asgi", "--uds", path)
    with process(*command) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "Started worker" in line:
                break
        await check_http("http://localhost", httpx.AsyncHTTPTransport(uds=path))
        async with websockets.unix_connect(path, "ws://localhost/echo") as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"


@pytest.mark.parametrize("threads", ["1", "4"])
async def test_services_run_behind_gunicorn(threads: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = ("gunicorn", f"{HOSTED}:application", "--bind", f"fd://{listening.fileno()}")
        with process(*command, "--threads", threads, sock=listening) as running:
            await check_http(f"http://127.0.0.1:{port}")
        assert running.returncode == 0
