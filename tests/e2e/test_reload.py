"""`--reload`: the code changes, and whoever is connected stays so and misses nothing."""

import http.client
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import Start
from tests.e2e.daemon import END_LIMIT_S
from tests.e2e.running import Running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RELOADS: Final = 10
RELOADED: Final = "INFO    reloaded after"

SERVICE: Final = """
import asyncio
from extra import Request, Service, ServiceLimits, Socket, on, server

VERSION = 0

class News(Service):
    @on(GET="/version")
    async def version(self) -> int:
        return VERSION

    @on(POST="/tell/{number:int}")
    async def tell(self, number: int) -> None:
        await self.publish("news", {"number": number, "by": VERSION})

    @on(WEBSOCKET="/listen")
    async def listen(self, socket: Socket) -> None:
        async with self.broker.subscribe("news") as messages:
            await socket.send("ready")
            async for message in messages:
                await socket.send(message.data)

    @on(GET="/events")
    async def events(self, request: Request) -> object:
        return request.sse(self.told())

    async def told(self):
        async with self.broker.subscribe("news") as messages:
            yield "ready"
            async for message in messages:
                yield message.data

    @on(TOPIC="news")
    async def heard(self, message) -> None:
        await self.publish("heard", {"number": message.data["number"], "by": VERSION})

    @on(WEBSOCKET="/heard")
    async def listen_to_heard(self, socket: Socket) -> None:
        async with self.broker.subscribe("heard") as messages:
            await socket.send("ready")
            async for message in messages:
                await socket.send(message.data)

    @on(GET="/slow")
    async def slow(self) -> int:
        async with self.broker.subscribe("finish") as messages:
            await self.publish("begun", None)
            await anext(messages)
        return VERSION

    @on(POST="/finish")
    async def finish(self) -> None:
        await self.publish("finish", None)

    @on(WEBSOCKET="/begun")
    async def begun(self, socket: Socket) -> None:
        async with self.broker.subscribe("begun") as messages:
            await socket.send("ready")
            async for message in messages:
                await socket.send("begun")

app = server(News, limits=ServiceLimits(leave_timeout_s=0.05))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, 0)
    return tmp_path


def write(folder: Path, version: int) -> None:
    (folder / "news.py").write_text(SERVICE.replace("VERSION = 0", f"VERSION = {version}"))


@contextmanager
def running(folder: Path, target: str = "news:app") -> Iterator[Running]:
    words = ("--port", "0", "--reload", "--reload-delay", "0.02", "--timeout-graceful-shutdown", "2")
    with Running(target, *words, cwd=folder) as process:
        process.wait_for("watches")
        yield process


def get(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=END_LIMIT_S) as answer:
        body: bytes = answer.read()
        return body


def version(process: Running) -> int:
    return int(get(f"{process.url}/version"))


def test_subscribers_stay_connected_and_miss_nothing_over_ten_reloads(folder: Path) -> None:
    with running(folder) as process:
        socket_url = process.url.replace("http", "ws")
        events = http.client.HTTPConnection("127.0.0.1", process.port, timeout=END_LIMIT_S)
        events.request("GET", "/events")
        stream = events.getresponse()
        assert b"ready" in next_event(stream)
        with connect(f"{socket_url}/listen") as socket, connect(f"{socket_url}/heard") as heard:
            assert socket.recv() == heard.recv() == "ready"
            number = 0
            stop = threading.Event()

            def tell_on_and_on() -> None:
                nonlocal number
                while not stop.is_set():
                    get(f"{process.url}/tell/{number}", "POST")
                    number += 1

            teller = threading.Thread(target=tell_on_and_on)
            teller.start()
            try:
                for reloaded in range(1, RELOADS + 1):
                    write(folder, reloaded)
                    process.wait_for(RELOADED, times=reloaded)
                    assert version(process) == reloaded
            finally:
                stop.set()
                teller.join()
            assert number > RELOADS
            for receive in (socket.recv, heard.recv, lambda: data_of(next_event(stream))):
                messages = [json.loads(receive()) for _ in range(number)]
                assert [message["number"] for message in messages] == list(range(number))
                assert [message["by"] for message in messages] == sorted(
                    message["by"] for message in messages
                )
        events.close()
        assert process.count(RELOADED) == RELOADS


def next_event(stream: http.client.HTTPResponse) -> bytes:
    """Return the line of the next event that has its data."""
    while not (line := stream.readline()).startswith(b"data:"):
        if not line:
            raise EOFError
    return line


def data_of(event: bytes) -> bytes:
    return event.removeprefix(b"data:").strip()


def test_request_that_has_begun_finishes_on_the_old_code(folder: Path) -> None:
    with running(folder) as process, connect(f"{process.url.replace('http', 'ws')}/begun") as begun:
        assert begun.recv() == "ready"
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(int(get(f"{process.url}/slow"))))
        asking.start()
        assert begun.recv() == "begun"
        write(folder, 1)
        process.wait_for(RELOADED)
        assert version(process) == 1
        get(f"{process.url}/finish", "POST")
        asking.join()
        assert answers == [0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def :", "SyntaxError"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("", "there is no 'app' in 'news'"),
        (
            SERVICE + "\nclass Broken(Service):\n    async def start(self): 1 / 0\napp = server(Broken)",
            "ZeroDivisionError",
        ),
    ],
)
def test_what_does_not_import_or_start_leaves_the_old_one_serving(
    folder: Path, text: str, words: str
) -> None:
    with running(folder) as process, connect(f"{process.url.replace('http', 'ws')}/listen") as socket:
        assert socket.recv() == "ready"
        (folder / "news.py").write_text(text)
        process.wait_for("serves on")
        process.wait_for(words)
        assert version(process) == 0
        get(f"{process.url}/tell/7", "POST")
        assert json.loads(socket.recv()) == {"number": 7, "by": 0}
        write(folder, 2)
        process.wait_for(RELOADED)
        assert version(process) == 2
        get(f"{process.url}/tell/8", "POST")
        assert json.loads(socket.recv()) == {"number": 8, "by": 2}


ASGI: Final = """
import asyncio, logging
VERSION = 0
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        logging.getLogger("extra.test").info("started %d", VERSION)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        logging.getLogger("extra.test").info("stopped %d", VERSION)
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": str(VERSION)})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % VERSION})
"""

WSGI: Final = """
VERSION = 0
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % VERSION]
"""


def test_asgi_application_is_swapped_and_the_old_one_stops_when_nobody_is_there(folder: Path) -> None:
    (folder / "site.py").write_text("")  # named like a standard module: which is not ours, and stays
    (folder / "foreign.py").write_text(ASGI)
    with running(folder, "foreign:app") as process:
        with connect(f"{process.url.replace('http', 'ws')}/") as socket:
            socket.send("?")
            assert socket.recv() == "0"
            (folder / "foreign.py").write_text(ASGI.replace("VERSION = 0", "VERSION = 1"))
            process.wait_for(RELOADED)
            assert get(process.url) == b"1"
            socket.send("?")
            assert socket.recv() == "0"
            assert not process.count("stopped 0")
        process.wait_for("stopped 0")
    assert process.count("stopped 1")


def test_wsgi_application_is_swapped(folder: Path) -> None:
    (folder / "foreign.py").write_text(WSGI)
    with running(folder, "foreign:app") as process:
        assert get(process.url) == b"0"
        (folder / "foreign.py").write_text(WSGI.replace("VERSION = 0", "VERSION = 1"))
        process.wait_for(RELOADED)
        assert get(process.url) == b"1"


def test_what_is_watched(folder: Path) -> None:
    """Changes of other files say nothing; those that are included, and modules that are imported, do."""
    package = folder / "site_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "numbers.py").write_text("VERSION = 5\n")
    (folder / "news.py").write_text(SERVICE.replace("VERSION = 0", "from site_parts.numbers import VERSION"))
    words = (
        "--reload-dir",
        ".",
        "--reload-include",
        "*.html",
        "--reload-exclude",
        "skipped",
        "--reload-delay",
        "0.02",
    )
    with Running("news:app", "--port", "0", "--reload", *words, cwd=folder) as process:
        process.wait_for("watches")
        assert version(process) == 5
        (folder / "notes.txt").write_text("nothing")
        (folder / "skipped").mkdir()
        (folder / "skipped" / "x.py").write_text("")
        (package / "numbers.py").write_text("VERSION = 6\n")
        process.wait_for("reloaded after numbers.py changed")
        assert version(process) == 6
        (folder / "page.html").write_text("")
        process.wait_for("reloaded after page.html changed")
        assert process.count(RELOADED) == 2


BESIDE: Final = """
from extra import Service, on, server
VERSION = 0
class Beside(Service):
    @on(GET="/version")
    async def version(self) -> int:
        return VERSION
    @on(TOPIC="news")
    async def heard(self, message) -> None:
        await self.publish("heard", {"number": message.data["number"], "by": VERSION})
app = server(Beside)
"""


def test_subscribers_of_the_broker_miss_nothing_while_services_beside_it_are_swapped(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "beside.py").write_text(BESIDE)
    daemon = start("--app", "beside:app", "--reload")
    daemon.expects_trouble = True
    daemon.wait_for("watches")
    events = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=END_LIMIT_S)
    events.request("GET", "/t/%23", headers={"Accept": "text/event-stream"})
    stream = events.getresponse()
    with connect(f"ws://127.0.0.1:{daemon.port}/ws") as socket:
        socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": "heard"}))
        assert json.loads(socket.recv())["op"] == "welcome"
        assert json.loads(socket.recv())["op"] == "subscribed"
        published = 0

        def publish() -> None:
            nonlocal published
            body = json.dumps({"number": published}).encode()
            asked = urllib.request.Request(
                f"{daemon.url}/t/news", body, {"Content-Type": "application/json"}, method="POST"
            )
            with urllib.request.urlopen(asked, timeout=END_LIMIT_S) as answer:
                assert answer.status == 201
            published += 1

        for reloaded in range(1, RELOADS + 1):
            publish()
            if reloaded == RELOADS // 2:
                (folder / "beside.py").write_text("def :")
                daemon.wait_for("SyntaxError")
                publish()
            (folder / "beside.py").write_text(BESIDE.replace("VERSION = 0", f"VERSION = {reloaded}"))
            while int(get(f"{daemon.url}/version")) != reloaded:
                daemon.wait_for("reloaded after")
            publish()
        heard: list[dict[str, int]] = []
        while len(heard) < published:
            push = json.loads(socket.recv(END_LIMIT_S))
            heard += [push["data"]] if push.get("op") == "message" else []
        assert [each["number"] for each in heard] == list(range(published))
        assert heard[0]["by"] == 0
        assert heard[-1]["by"] == RELOADS
    told = [json.loads(data_of(next_event(stream))) for _ in range(2 * published)]
    assert [each["data"]["number"] for each in told if each["topic"] == "news"] == list(range(published))
    assert [each["offset"] for each in told] == list(range(1, 2 * published + 1))
    events.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reload"], "server.app"),
        (["--reload", "--app", "beside:app", "--server-reload-dirs", "/no"], "/no"),
    ],
)
def test_broker_says_why_it_cannot_reload(folder: Path, words: list[str], said: str) -> None:
    process = Running(*words, cwd=folder, command=("broker", "--port", "0"))
    assert process.process.wait(END_LIMIT_S) == 1
    with pytest.raises(ChildProcessError, match="ended"), process:
        raise ChildProcessError("it has ended")
    assert process.count(said)
