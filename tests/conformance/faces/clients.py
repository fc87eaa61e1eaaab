"""Subscribers, one class for each face, on parsers that are not ours: h11, and websockets' Sans-I/O layer.

They read from the socket only when a test asks for the next entry, and a little at a time: whoever is not
asked is a client that stalls.
"""

import asyncio
import json
import socket
from abc import ABC, abstractmethod
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

import h11
import msgpack
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from extra.payloads import JSONValue

__all__ = [
    "FACES",
    "FACES_OF_MANY",
    "STREAMS",
    "WAITING",
    "EventStreamFace",
    "Face",
    "Fields",
    "Line",
    "MsgpackWebSocketFace",
    "PollFace",
    "ReadFace",
    "Refused",
    "WebSocketFace",
]

Fields = dict[str, JSONValue]

PIECE_BYTES: Final = 2048
WIDE_PIECE_BYTES: Final = 1 << 20
SEGMENT_BYTES: Final = 536
"""Far smaller than a small buffer: otherwise the kernel waits 0.2 s for room for a whole segment."""

WAIT_S: Final = 10.0
"""So long a test waits for an entry before it fails; none gets there."""


class Refused(Exception):
    """The broker has refused to be subscribed to. `code` is the stable one, `status` None on a WebSocket."""

    def __init__(self, code: str, status: int | None) -> None:
        super().__init__(f"{code} ({status})")
        self.code = code
        self.status = status


class Line:
    """A TCP connection that is read when asked."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.piece_bytes = PIECE_BYTES

    @classmethod
    async def open(cls, port: int, receive_buffer_bytes: int | None = None) -> Self:
        """Connect to loopback; a small receive buffer makes the broker feel soon that nobody reads."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """Return what comes next; nothing at the end, however that came."""
        try:
            return await asyncio.get_running_loop().sock_recv(self.sock, self.piece_bytes)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.sock.close()


class Face(ABC):
    """One subscriber on one connection; `cursor` is where its like would resume, on this face or another."""

    name: ClassVar[str]

    def __init__(
        self,
        port: int,
        *filters: str,
        since: str | None = None,
        overflow: str | None = None,
        retained: bool | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        self.port = port
        self.filters = filters
        self.since = since
        self.overflow = overflow
        self.retained = retained
        self.receive_buffer_bytes = receive_buffer_bytes
        self.cursor = since if since is not None and "-" in since else ""
        self.line: Line | None = None
        self.entries: deque[Fields] = deque()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(WAIT_S):
                await self.open()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    async def open(self) -> None:
        """Subscribe. Raises Refused."""

    @abstractmethod
    async def next(self) -> Fields | None:
        """Return the next message, gap or goodbye; None when it has ended, or a read has nothing."""

    def close(self) -> None:
        if self.line is not None:
            self.line.close()

    def widen(self) -> None:
        """Read as fast as it goes from here on."""
        if self.line is not None:
            self.line.piece_bytes = WIDE_PIECE_BYTES
            self.line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE_PIECE_BYTES)

    async def take(self, count: int) -> list[Fields]:
        """Return so many entries."""
        async with asyncio.timeout(WAIT_S):
            taken = [await self.next() for _ in range(count)]
        found = [entry for entry in taken if entry is not None]
        assert len(found) == count, f"the connection has ended after {found}"
        return found

    async def offsets(self, count: int) -> list[JSONValue]:
        """Return the offsets of so many messages."""
        return [entry["offset"] for entry in await self.take(count)]

    async def connect(self) -> Line:
        self.line = await Line.open(self.port, self.receive_buffer_bytes)
        return self.line

    def path(self, path: str) -> str:
        """Return the target: of the one filter, or of `path` with all of them as parameters."""
        parameters = []
        if path == "/t/":
            path += quote(self.filters[0], safe="/")
        else:
            parameters += [("topic", topic_filter) for topic_filter in self.filters]
        parameters += [
            (name, value)
            for name, value in (
                ("since", self.since),
                ("overflow", self.overflow),
                ("retained", None if self.retained is None else str(int(self.retained))),
            )
            if value is not None
        ]
        return path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters)


class WebSocketFace(Face):
    """A session on `/ws` that sends one `subscribe`, in JSON."""

    name = "websocket"
    subprotocol: ClassVar[str | None] = None
    route: ClassVar[str] = "/ws"

    async def open(self) -> None:
        target = self.path("/t/") if self.route == "/t/" else self.route
        await self.shake_hands(target)
        welcome = await self.push()
        assert welcome is not None
        assert welcome["op"] == "welcome"
        self.epoch = welcome["epoch"]
        self.welcome = welcome
        self.subscribed: Fields | None = None
        if self.route != "/t/" and self.protocol.state is State.OPEN:
            await self.command(
                op="subscribe",
                id=1,
                filter=list(self.filters),
                since=self.since,
                overflow=self.overflow,
                retained=self.retained,
            )
        first = await self.push()
        if first is not None and first["op"] == "error":
            raise Refused(str(first["code"]), None)
        if first is not None:
            self.entries.appendleft(first)

    async def next(self) -> Fields | None:
        while (push := await self.push()) is not None:
            if push["op"] == "message":
                self.cursor = f"{self.epoch}-{push['offset']}"
                return push
            if push["op"] == "gap":
                return push
            if push["op"] == "goodbye":
                self.cursor = str(push["cursor"])
                return push
            assert push["op"] == "subscribed", push
            self.subscribed = push
            self.cursor = str(push["cursor"])
        return None

    async def shake_hands(self, target: str) -> None:
        line = await self.connect()
        offered = [Subprotocol(self.subprotocol)] if self.subprotocol is not None else None
        uri = parse_uri(f"ws://127.0.0.1:{self.port}{target}")
        self.protocol = ClientProtocol(uri, subprotocols=offered, max_size=None)
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        while not (events := self.protocol.events_received()):
            data = await line.receive()
            if not data:
                raise Refused("connection closed", None)
            self.protocol.receive_data(data)
        answer = events.pop(0)
        assert isinstance(answer, Response)
        if answer.status_code != 101:
            raise Refused(json.loads(answer.body or b"{}")["code"], answer.status_code)
        assert self.protocol.subprotocol == self.subprotocol
        self.read(events)

    async def command(self, **fields: JSONValue) -> None:
        """Send a command, without the fields that are None."""
        given = {name: value for name, value in fields.items() if value is not None}
        if self.subprotocol == "extra.v1.msgpack":
            self.protocol.send_binary(msgpack.packb(given))
        else:
            self.protocol.send_text(json.dumps(given).encode())
        await self.flush()

    async def push(self) -> Fields | None:
        """Return the next push of any kind, None when the connection has ended."""
        assert self.line is not None
        while not self.entries:
            data = await self.line.receive()
            if not data:
                return None
            self.protocol.receive_data(data)
            self.read(self.protocol.events_received())
            await self.flush()
        return self.entries.popleft()

    async def flush(self) -> None:
        """Send what the protocol wants sent: what it was asked for, pongs, the answer to a close frame."""
        assert self.line is not None
        try:
            for data in self.protocol.data_to_send():
                await self.line.send(data)
        except ConnectionError:
            return  # gone: reading will tell

    def read(self, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                assert event.fin
                data = bytes(event.data)
                is_text = event.opcode is Opcode.TEXT
                self.entries.append(json.loads(data) if is_text else as_json(msgpack.unpackb(data)))


class MsgpackWebSocketFace(WebSocketFace):
    """The same in msgpack."""

    name = "websocket, msgpack"
    subprotocol = "extra.v1.msgpack"


class TopicWebSocketFace(WebSocketFace):
    """`GET /t/{filter}` with `Upgrade: websocket`."""

    name = "websocket of a topic"
    subprotocol = "extra.v1.json"
    route = "/t/"


class HTTPFace(Face):
    """What speaks HTTP: one exchange after another on a connection."""

    http: h11.Connection

    async def exchange(self, target: str, headers: Mapping[str, str]) -> h11.Response:
        """Send a GET and return the head of the answer."""
        if self.line is not None and self.http.our_state is self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        else:
            self.close()
            await self.connect()
            self.http = h11.Connection(h11.CLIENT)
        assert self.line is not None
        fields = [("Host", f"127.0.0.1:{self.port}"), *headers.items()]
        sent = self.http.send(h11.Request(method="GET", target=target, headers=fields))
        assert sent is not None
        await self.line.send(sent + (self.http.send(h11.EndOfMessage()) or b""))
        event = await self.event()
        assert isinstance(event, h11.Response), event
        return event

    async def event(self) -> object:
        """Return the next event of the parser."""
        assert self.line is not None
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.line.receive())
        return event

    async def body(self) -> bytes:
        """Return the body of the answer."""
        parts = []
        while isinstance(event := await self.event(), h11.Data):
            parts.append(bytes(event.data))
        assert isinstance(event, h11.EndOfMessage), event
        return b"".join(parts)


class EventStreamFace(HTTPFace):
    """`GET /sse`, which resumes with `Last-Event-ID`, as an EventSource does."""

    name = "event stream"
    route: ClassVar[str] = "/sse"

    async def open(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.since is not None and self.route != "/t/":
            headers["Last-Event-ID"] = self.since
            self.since = None
        answer = await self.exchange(self.path(self.route), headers)
        if answer.status_code != 200:
            raise Refused(json.loads(await self.body())["code"], answer.status_code)
        self.text = b""
        self.retry_ms = 0
        while not self.cursor:  # the first block has it, without data
            await self.more()

    async def next(self) -> Fields | None:
        while not self.entries:
            if not await self.more():
                return None
        entry = self.entries.popleft()
        cursor = entry.pop("id", None)
        if cursor is not None:
            self.cursor = str(cursor)
        return entry

    async def more(self) -> bool:
        """Read on; return whether there was anything."""
        event = await self.event()
        if not isinstance(event, h11.Data):
            return False
        self.text += event.data
        *blocks, self.text = self.text.split(b"\n\n")
        for block in blocks:
            self.read(dict(line.split(": ", 1) for line in block.decode().split("\n") if line[0] != ":"))
        return True

    def read(self, fields: Mapping[str, str]) -> None:
        self.retry_ms = int(fields.get("retry", self.retry_ms))
        if "data" not in fields:
            self.cursor = fields.get("id", self.cursor)
            return
        entry: Fields = json.loads(fields["data"])
        assert fields.get("event", "message") == entry["op"]
        if "id" in fields:
            entry["id"] = fields["id"]
        self.entries.append(entry)


class TopicEventStreamFace(EventStreamFace):
    """`GET /t/{filter}` with `Accept: text/event-stream`, and `since`."""

    name = "event stream of a topic"
    route = "/t/"


class PollFace(HTTPFace):
    """`GET /poll`, again and again, with `wait` from the second time on.

    One message at a time, so that the cursor is always that of what was taken.
    """

    name = "long-poll"
    route: ClassVar[str] = "/poll"
    accept: ClassVar[str] = "application/json"
    parameters: ClassVar[str] = "&limit=1"
    wait: ClassVar[str] = "&wait=5"

    async def open(self) -> None:
        # Says where `now` is, and whether it may. What is retained comes in one page.
        await self.ask("" if self.since == "now" else self.parameters)

    async def next(self) -> Fields | None:
        while not self.entries:
            try:
                await self.ask(self.parameters + self.wait)
            except OSError:  # nobody listens any more
                return None
            if not self.entries and not self.wait:
                return None
        entry = self.entries.popleft()
        if not self.entries:  # the page has been taken
            self.cursor = str(self.since)
        return entry

    async def ask(self, parameters: str) -> None:
        """Make one request."""
        answer = await self.exchange(self.path(self.route) + parameters, {"Accept": self.accept})
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        body = await self.body()
        if answer.status_code == 410:
            problem = json.loads(body)
            assert problem["code"] == "unrecoverable_position"
            assert problem["cursor"] == headers["extra-cursor"]
            told = {name: problem[name] for name in ("after", "until", "reason")}
            self.entries.append({"op": "gap", **told})
        elif answer.status_code == 200:
            self.entries.extend(self.messages(body, headers))
        elif answer.status_code != 204:
            raise Refused(json.loads(body)["code"], answer.status_code)
        self.since = headers["extra-cursor"]
        self.retained = None
        if not self.entries:
            self.cursor = self.since
        if "retry-after" in headers:
            self.entries.append(
                {
                    "op": "goodbye",
                    "cursor": self.since,
                    "reconnect_after": float(headers["retry-after"]),
                    "reason": "shutdown",
                }
            )

    def messages(self, body: bytes, headers: Mapping[str, str]) -> list[Fields]:
        """Return the messages of a page."""
        page = json.loads(body)
        assert (page["cursor"], page["complete"]) == (headers["extra-cursor"], True)
        return list(page["messages"])


class TopicPollFace(PollFace):
    """`GET /t/{filter}` with `wait`, in msgpack."""

    name = "long-poll of a topic, msgpack"
    route = "/t/"
    accept = "application/msgpack"

    def messages(self, body: bytes, headers: Mapping[str, str]) -> list[Fields]:
        page = msgpack.unpackb(body)
        assert (page["cursor"], page["complete"]) == (headers["extra-cursor"], True)
        return [as_json(message) for message in page["messages"]]


class ReadFace(PollFace):
    """`GET /poll` without `wait`, a line for each message: all that there is, and then None."""

    name = "read, NDJSON"
    accept = "application/x-ndjson"
    parameters = ""
    wait = ""

    def messages(self, body: bytes, headers: Mapping[str, str]) -> list[Fields]:
        assert headers["extra-complete"] == "true"
        return [json.loads(line) for line in body.splitlines()]


def as_json(value: Any) -> Any:  # Any: whatever msgpack held
    """Return an object of msgpack as JSON has the same: bytes in base64."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict) and isinstance(value.get("data"), bytes):
        return {key: item for key, item in value.items() if key != "data"} | {
            "data_base64": b64encode(value["data"]).decode()
        }
    return value


FACES_OF_MANY: Final[list[type[Face]]] = [
    WebSocketFace,
    MsgpackWebSocketFace,
    EventStreamFace,
    PollFace,
    ReadFace,
]
"""Those that take several filters."""

FACES: Final[list[type[Face]]] = [*FACES_OF_MANY, TopicWebSocketFace, TopicEventStreamFace, TopicPollFace]

WAITING: Final[list[type[Face]]] = [face for face in FACES if face is not ReadFace]
"""Those that wait for what is not there yet."""

STREAMS: Final[list[type[Face]]] = [face for face in FACES if not issubclass(face, PollFace)]
"""Those that have an outbox, and can overflow."""
