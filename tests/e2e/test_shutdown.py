"""A broker that stops: every face says so, nothing is lost, and no client keeps it from ending."""

import asyncio
import json
import signal
import time
from contextlib import ExitStack

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from extra.payloads import JSONValue
from tests.conformance.faces.clients import FACES, WAITING, EventStreamFace, Face, Fields
from tests.conformance.faces.serving import until
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.raw import Raw, handshake

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WINDOW_S = 3.0


def start_with_window(start: Start, window_s: float = WINDOW_S) -> Daemon:
    return start("--server-drain-window-s", str(window_s))


def wait_until_refused(port: int) -> None:
    """Return when nobody listens there any more."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            Raw(port).close()
        except ConnectionError:
            return
    raise TimeoutError("connections are still accepted")


def wait_until_handled(port: int) -> None:
    """Return when the broker has seen what was sent before on other connections."""
    with Raw(port) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer().status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_every_face_says_where_and_when_to_resume(start: Start, number: signal.Signals) -> None:
    own = start_with_window(start)
    faces = [face(own.port, "a", since="now") for face in WAITING]
    seen: dict[str, JSONValue] = {}

    async def follow(face: Face) -> Fields:
        async with face:
            [message] = await face.take(1)
            seen[face.name] = message["offset"]
            [goodbye] = await face.take(1)
            assert await face.next() is None
        return goodbye

    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(base_url=own.url) as http:
        following = [tasks.create_task(follow(face)) for face in faces]
        await wait_for_sessions(http, len(faces))
        last = (await http.post("/t/a", json=1)).json()
        await until(lambda: len(seen) == len(faces))
        await wait_for_sessions(http, len(faces))  # the polls wait again
        own.signal(number)
    assert set(seen.values()) == {last["offset"]}
    delays = set()
    for face, task in zip(faces, following, strict=True):
        goodbye = task.result()
        assert (goodbye["op"], goodbye["reason"]) == ("goodbye", "shutdown")
        assert goodbye["cursor"] == last["cursor"]
        assert isinstance(goodbye["reconnect_after"], float)
        assert 0 <= goodbye["reconnect_after"] <= WINDOW_S + 1
        if isinstance(face, EventStreamFace):
            assert face.retry_ms == max(int(goodbye["reconnect_after"] * 1000), 500)
        delays.add(goodbye["reconnect_after"])
    assert len(delays) > 2, "each has a delay of its own"
    assert own.wait() == 0


async def wait_for_sessions(http: httpx.AsyncClient, count: int) -> None:
    """Return when so many subscribe, polls that wait included."""
    async with asyncio.timeout(10):
        while f"\nextra_sessions {count}\n" not in (await http.get("/metrics")).text:
            pass


async def test_a_websocket_is_closed_with_1001(start: Start) -> None:
    own = start_with_window(start)
    async with connect(f"ws{own.url.removeprefix('http')}/ws", proxy=None) as socket:
        await socket.recv()
        own.signal()
        assert json.loads(await socket.recv())["op"] == "goodbye"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_a_poll_is_answered_and_its_connection_ends(start: Start) -> None:
    own = start_with_window(start)
    with Raw(own.port) as raw:
        raw.send(b"GET /t/a?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until_handled(own.port)
        own.signal()
        head = raw.read_all().decode()
    assert head.startswith("HTTP/1.1 204 ")
    assert head.count("Connection: close\r\n") == 1
    assert head.count("Retry-After: ") == 1
    assert head.count("Extra-Cursor: ") == 1


def test_what_is_under_way_is_finished(start: Start) -> None:
    own = start_with_window(start)
    with Raw(own.port) as raw:
        raw.send(b"POST /t/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha")
        wait_until_handled(own.port)
        own.signal()
        own.wait_for("shutting down")
        wait_until_refused(own.port)
        raw.send(b"lf")
        answer = raw.answer()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert raw.read() == b""
    assert own.wait() == 0


def test_idle_connections_are_closed(start: Start) -> None:
    own = start_with_window(start, 60)
    with Raw(own.port) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer().status == 200
        own.signal()
        assert raw.read() == b""
    assert own.wait() == 0


STREAM = b"GET /sse?topic=%23 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_open_streams_do_not_keep_it_from_ending(start: Start) -> None:
    """200 of them, none of which reads, and some with more waiting than the kernel takes."""
    window_s = 1.0
    own = start("--server-drain-window-s", str(window_s), "--broker-outbox-limit-bytes", "100000000")
    with ExitStack() as stack:
        for number in range(200):
            raw = stack.enter_context(Raw(own.port, receive_buffer_bytes=4096))
            topic = "full" if number < 20 else "quiet"
            raw.send(STREAM.replace(b"%23", topic.encode()) if number % 2 else handshake(f"/t/{topic}"))
            raw.read(1)
        with httpx.Client(base_url=own.url) as http:
            for _ in range(8):
                assert http.post("/t/full", content=b"x" * 1_000_000).json()["subscribers"] == 20
            assert http.post("/t/quiet", content=b"x").json()["subscribers"] == 180
        began = time.monotonic()
        own.signal(signal.SIGINT)
        assert own.wait() == 0
        assert time.monotonic() - began < window_s + 2


def test_streams_that_read_end_it_before_the_window(start: Start) -> None:
    own = start_with_window(start, 60)
    with ExitStack() as stack:
        streams = [stack.enter_context(Raw(own.port)) for _ in range(50)]
        for raw in streams:
            raw.send(STREAM)
            raw.read(1)
        own.signal()
        for raw in streams:
            assert b"event: goodbye\n" in raw.read_all()
    began = time.monotonic()
    assert own.wait() == 0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_cuts_at_once(start: Start, number: signal.Signals) -> None:
    own = start_with_window(start, 3600)
    with Raw(own.port) as raw:
        raw.send(b"POST /t/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha")
        wait_until_handled(own.port)
        own.signal(number)
        own.wait_for("shutting down")
        assert own.is_running
        began = time.monotonic()
        own.signal(number)
        assert own.wait() == 0
        assert time.monotonic() - began < 2


async def test_who_comes_back_after_a_restart_is_told_that_the_log_is_new(start: Start) -> None:
    """The memory engine forgets: a cursor of the old epoch says so on every face."""
    first, second = start_with_window(start), start_with_window(start)
    async with httpx.AsyncClient() as http:
        cursor = (await http.post(f"{first.url}/t/a", json=1)).json()["cursor"]
        await http.post(f"{second.url}/t/a", json=2)
    for face in FACES:
        async with face(second.port, "a", since=cursor) as subscriber:
            gap, message = await subscriber.take(2)
            assert (gap["op"], gap["reason"], message["data"]) == ("gap", "epoch", 2)


def test_a_signal_that_comes_late_changes_nothing(start: Start) -> None:
    """Between the last line of the log and the end of the process."""
    daemon = start()
    daemon.signal()
    daemon.wait_for("stopped")
    daemon.signal()  # nothing happens when it has ended already
    assert daemon.wait() == 0
