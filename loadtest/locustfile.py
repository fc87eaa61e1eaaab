"""Subscribers, readers, pollers and publishers with think times, which come and go; nothing may be lost.

    make loadtest                                        a broker of its own, a minute, pass or fail
    locust -f loadtest/locustfile.py --host URL          any other broker, with locust's console

Publishers stop some seconds before the end, so that everybody can get what is under way. The last line says
PASS, or FAIL and the first case; the exit status is 0 or 1. `loadtest.tracking` keeps the books.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any, Final
from uuid import uuid4

import gevent
import websocket
from locust import HttpUser, User, between, constant, events, task

from loadtest.tracking import Ledger, Reader

ROOMS: Final = [f"load/{number}" for number in range(10)]
EVERYTHING: Final = "load/**"
"""All rooms, as it stands in a URL."""
EVERYTHING_SHARE: Final = 0.1
REPEAT_SHARE: Final = 0.05
"""So many publications are sent twice with one key, as by a client that has missed the answer."""
CLOSING_S: Final = 8.0
STAYS_S: Final = (2.0, 12.0)
AWAY_S: Final = (0.2, 3.0)
TURN_S: Final = 1.0
WAIT_S: Final = 5
TIMEOUT_S: Final = 20.0

ledger = Ledger()
numbers = count()
free_rooms = list(ROOMS)
closing_at = float("inf")


def is_closing() -> bool:
    """Return whether publishers have stopped, and readers stay."""
    return time.monotonic() >= closing_at


class Visits:
    """What all readers do: stay for a while, go, come back to where they were. `cursor` is where that is."""

    def begin(self, face: str) -> None:
        """Choose what to read."""
        every = random.random() < EVERYTHING_SHARE
        rooms = ROOMS if every else [random.choice(ROOMS)]
        self.path = EVERYTHING if every else rooms[0]
        self.reader = Reader(f"{face} {next(numbers)}", ledger, rooms)
        self.cursor = "now"

    def visit(self) -> None:
        """Stay, then be away."""
        try:
            self.stay(time.monotonic() + random.uniform(*STAYS_S))
        except OSError as error:  # refused, reset, timed out: none of it should happen
            ledger.fault(f"{self.reader.name}: {error!r}")
        gevent.sleep(random.uniform(*AWAY_S))

    def stay(self, until: float) -> None:
        """Read until then, or until the end when that is near."""
        raise NotImplementedError

    def take(self, envelope: dict[str, Any]) -> None:
        """Check a message, and count it among locust's requests with the time it took."""
        data = envelope["data"]
        self.reader.take(envelope["topic"], data["n"])
        events.request.fire(
            request_type="message",
            name=self.reader.name.partition(" ")[0],
            response_time=1000 * (time.monotonic() - data["at"]),
            response_length=0,
            exception=None,
        )

    def expected(self, status: int, *good: int) -> bool:
        """Note a status that should not be."""
        if status not in good:
            ledger.fault(f"{self.reader.name}: status {status}")
        return status in good


class WebSocketReader(User, Visits):
    """Subscribes over a WebSocket; comes back with a cursor that it has made from the last offset."""

    weight = 5
    wait_time = constant(0)

    def on_start(self) -> None:
        self.begin("WebSocket")

    @task
    def read(self) -> None:
        self.visit()

    def stay(self, until: float) -> None:
        url = self.host.replace("http", "ws", 1)
        connection = websocket.create_connection(
            f"{url}/t/{self.path}?since={self.cursor}&retained=0", timeout=TIMEOUT_S
        )
        epoch = ""
        try:
            connection.settimeout(TURN_S)
            while time.monotonic() < until or is_closing():
                try:
                    frame = connection.recv()
                except websocket.WebSocketTimeoutException:
                    continue
                pushes = json.loads(frame) if frame else [{"op": "goodbye", "reason": "end of stream"}]
                for push in pushes if isinstance(pushes, list) else [pushes]:
                    epoch = push.get("epoch", epoch)
                    self.take_push(push, epoch)
        finally:
            connection.close(timeout=1) if random.random() < 0.5 else connection.shutdown()

    def take_push(self, push: dict[str, Any], epoch: str) -> None:
        if push["op"] == "message":
            self.take(push)
            self.cursor = f"{epoch}-{push['offset']}"
        elif push["op"] == "subscribed":
            self.reader.subscribed()
            self.cursor = push["cursor"]
        elif push["op"] == "gap":
            self.reader.gap(json.dumps(push))
        elif push["op"] in ("error", "goodbye"):
            raise ConnectionError(json.dumps(push))


class EventReader(HttpUser, Visits):
    """Reads events; comes back with the id of the last one."""

    weight = 3
    wait_time = constant(0)

    def on_start(self) -> None:
        self.begin("SSE")

    @task
    def read(self) -> None:
        self.visit()

    def stay(self, until: float) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.cursor != "now":
            headers["Last-Event-ID"] = self.cursor
        path = f"/t/{self.path}?retained=0"
        answer = self.client.get(path, headers=headers, stream=True, timeout=TIMEOUT_S, name="open SSE")
        try:
            if self.expected(answer.status_code, 200):
                left = until - time.monotonic() if not is_closing() else 3600.0
                with gevent.Timeout(max(left, 0.1), False):
                    # `iter_content` would wait until a chunk of its own size is full
                    for event in parsed(iter(partial(answer.raw.read1, 65536), b"")):
                        self.take_event(event)
        finally:
            answer.close()

    def take_event(self, event: dict[str, str]) -> None:
        if event.get("event") == "gap":
            self.reader.gap(event["data"])
        elif event.get("event") == "goodbye":
            raise ConnectionError(event["data"])
        elif "data" in event:
            self.take(json.loads(event["data"]))
        elif "id" in event:
            self.reader.subscribed()
        self.cursor = event.get("id", self.cursor)


class Poller(HttpUser, Visits):
    """Polls, waiting for what comes, and thinks now and then between two polls."""

    weight = 2
    wait_time = constant(0)

    def on_start(self) -> None:
        self.begin("poll")

    @task
    def read(self) -> None:
        self.visit()

    def stay(self, until: float) -> None:
        is_first = True
        while time.monotonic() < until or is_closing():
            wait = 0 if self.cursor == "now" else WAIT_S
            path = f"/t/{self.path}?since={self.cursor}&retained=0" + (f"&wait={wait}" if wait else "")
            with self.client.get(path, timeout=TIMEOUT_S, name="poll", catch_response=True) as answer:
                answer.success()  # 204 and 410 are answers too
                if answer.status_code == 410:
                    self.reader.gap(answer.text)
                    answer.failure("a loss")
                if self.expected(answer.status_code, 200, 204, 410):
                    if answer.status_code == 200:
                        for envelope in answer.json()["messages"]:
                            self.take(envelope)
                    self.cursor = answer.headers["Extra-Cursor"]
                    if is_first:
                        self.reader.subscribed()
                        is_first = False


class Publisher(HttpUser):
    """Publishes to a room of its own by POST, each message with a key; some are sent twice."""

    fixed_count = len(ROOMS) - 3
    wait_time = between(0.1, 0.8)

    def on_start(self) -> None:
        self.room = free_rooms.pop()

    @task
    def publish(self) -> None:
        if is_closing():
            return
        body = json.dumps({"n": ledger.next_number(self.room), "at": time.monotonic()})
        key = str(uuid4())
        offset = self.post(body, key)
        if random.random() < REPEAT_SHARE and self.post(body, key) != offset:
            ledger.fault(f"{self.room}: a key was published twice")
        ledger.confirm(self.room)

    def post(self, body: str, key: str) -> int:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = self.client.post(
            f"/t/{self.room}", data=body, headers=headers, timeout=TIMEOUT_S, name="publish"
        )
        if answer.status_code != 201:
            ledger.fault(f"{self.room}: publishing was answered {answer.status_code}")
            return -1
        offset: int = answer.json()["offset"]
        return offset


class WebSocketPublisher(User):
    """Publishes to a room of its own over a WebSocket, and waits for each receipt."""

    fixed_count = 3
    wait_time = between(0.05, 0.5)

    def on_start(self) -> None:
        self.room = free_rooms.pop()
        url = self.host.replace("http", "ws", 1)
        self.connection = websocket.create_connection(f"{url}/ws", timeout=TIMEOUT_S)
        self.connection.recv()  # the welcome

    @task
    def publish(self) -> None:
        if is_closing():
            self.connection.settimeout(TURN_S)
            return
        number, started = ledger.next_number(self.room), time.monotonic()
        data = {"n": number, "at": started}
        self.connection.send(json.dumps({"op": "publish", "id": number, "topic": self.room, "data": data}))
        push = json.loads(self.connection.recv())
        took = 1000 * (time.monotonic() - started)
        if push["op"] != "published" or push["id"] != number:
            ledger.fault(f"{self.room}: publishing was answered {push}")
        ledger.confirm(self.room)
        events.request.fire(
            request_type="WS", name="publish", response_time=took, response_length=0, exception=None
        )


def parsed(chunks: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """Yield the fields of each event of a stream; comments are skipped."""
    buffer = b""
    for chunk in chunks:
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            fields = [line.partition(": ") for line in block.decode().split("\n")]
            event = {name: value for name, colon, value in fields if colon and name}
            if event:
                yield event


@events.test_start.add_listener
def begin(environment: Any, **_: object) -> None:
    global closing_at
    run_time = environment.parsed_options.run_time if environment.parsed_options else None
    if run_time:
        closing_at = time.monotonic() + run_time - CLOSING_S


@events.user_error.add_listener
def note(user_instance: Any, exception: Exception, **_: object) -> None:
    ledger.fault(f"{type(user_instance).__name__}: {exception!r}")


@events.quitting.add_listener
def judge(environment: Any, **_: object) -> None:
    ledger.close()
    failures = environment.stats.total.num_failures
    if failures:
        ledger.fault(f"{failures} requests failed")
    environment.process_exit_code = 0 if ledger.verdict().startswith("PASS") else 1


@events.quit.add_listener
def tell(**_: object) -> None:
    sys.stdout.write(f"{ledger.verdict()}\n")
    sys.stdout.flush()
