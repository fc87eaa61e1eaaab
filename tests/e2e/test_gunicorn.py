"""Our server in the workers of a real gunicorn."""

import http.client
import json
import os
import signal
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.e2e.daemon import END_LIMIT_S
from tests.e2e.running import Running
from tests.e2e.test_running import APPLICATION

pytestmark = pytest.mark.e2e

WORKER = ("--worker-class", "extra.bridges.gunicorn.Worker", "--bind", "127.0.0.1:0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "telling.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text("control_socket_disable = True\n")  # where it has one
    return tmp_path


def started(folder: Path, *words: str) -> Running:
    return Running(*words, *WORKER, cwd=folder, command=("gunicorn",))


def port_of(running: Running) -> int:
    line = running.wait_for("Listening at: http")
    return int(line.partition("127.0.0.1:")[2].split()[0])


def ask(port: int, path: str = "/", **headers: str) -> object:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=END_LIMIT_S)
    try:
        connection.request(
            "GET", path, headers={key.replace("_", "-"): text for key, text in headers.items()}
        )
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_services_with_websockets_and_both_logs(folder: Path) -> None:
    with started(folder, "telling:app", "--access-logfile", "access.log") as running:
        port = port_of(running)
        told = ask(port, X_Forwarded_For="192.0.2.7")
        assert isinstance(told, dict)
        assert told["client"] == "192.0.2.7:0"
        assert told["pid"] != running.process.pid
        with connect(f"ws://127.0.0.1:{port}/echo") as websocket:
            websocket.send("hello")
            assert websocket.recv() == "hello"
    assert '192.0.2.7:0 "GET /" 200' in (folder / "access.log").read_text()


def test_asgi_application_with_its_lifespan(folder: Path) -> None:
    with started(folder, "telling:raw") as running:
        port = port_of(running)
        running.wait_for("started")
        assert ask(port, "/a") == ["", "/a", "http"]


def test_worker_is_replaced_when_it_dies_and_after_so_many_requests(folder: Path) -> None:
    with started(folder, "telling:app", "--max-requests", "2") as running:
        port = port_of(running)
        pids = []
        for _ in range(5):
            told = ask(port)
            assert isinstance(told, dict)
            pids.append(told["pid"])
        assert len(set(pids)) >= 2
        os.kill(pids[-1], signal.SIGKILL)
        told = ask(port)
        assert isinstance(told, dict)
        assert told["pid"] not in pids


def test_application_that_does_not_start_ends_it(folder: Path) -> None:
    (folder / "failing.py").write_text(
        "from extra import Service\n"
        "class Failing(Service):\n"
        "    async def start(self): raise RuntimeError('no database')\n"
        "app = Failing\n"
    )
    running = started(folder, "failing:app")
    assert running.process.wait(END_LIMIT_S) == 3
    with pytest.raises(ChildProcessError, match="ended"), running:
        raise ChildProcessError("it has ended")
    assert running.count("no database")
