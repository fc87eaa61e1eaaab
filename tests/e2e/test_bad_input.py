"""Bad input gets its documented status, close code or error, costs bounded work, and disturbs nobody else.

Beside each case a subscriber that behaves keeps receiving from the same broker.
"""

import json
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from extra.protocols.websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, client_frame, server_frame
from tests.e2e.daemon import Daemon
from tests.e2e.raw import Raw, exchange, handshake

pytestmark = pytest.mark.e2e

HEAD_TIMEOUT_S = 1.0
BODY_TIMEOUT_S = 1.5
FRAME_LIMIT_BYTES = 10_000
FLOOD_LIMIT_BYTES = 100 * 1024 * 1024
MEMORY_BYTES = 64 * 1024 * 1024
"""More than this the broker may not grow by, whatever the tests of this module send."""


class Witness:
    """A broker with tight limits, and a subscriber that has to receive everything that is published."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.port = daemon.port
        self.stream = Raw(daemon.port)
        self.stream.send(b"GET /t/witness?format=raw HTTP/1.1\r\nHost: localhost\r\n")
        self.stream.send(b"Accept: text/event-stream\r\n\r\n")
        self.lines = self.stream.sock.makefile("rb")
        while self.lines.readline() != b"retry: 2000\n":
            pass
        self.published = 0

    def check(self) -> None:
        """Publish, and see that it arrives."""
        self.published += 1
        text = str(self.published).encode()
        answer = self.ask(
            b"POST /t/witness HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: %d\r\n\r\n%b"
            % (len(text), text)
        )
        assert answer == 201
        while not (line := self.lines.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
        assert line == b"data: %b\n" % text

    def ask(self, request: bytes) -> int:
        return exchange(self.port, request).status

    def close(self) -> None:
        self.lines.close()
        self.stream.close()


def resident_bytes(port: int) -> float:
    metrics = exchange(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").body.decode()
    found = re.search(r"^extra_resident_memory_bytes (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.fixture(scope="module")
def tight() -> Iterator[Witness]:
    options = {
        "--server-head-timeout-s": HEAD_TIMEOUT_S,
        "--server-body-timeout-s": BODY_TIMEOUT_S,
        "--websocket-frame-limit-bytes": FRAME_LIMIT_BYTES,
        "--websocket-commands-limit": 10,
        "--broker-max-payload-bytes": 5000,
        "--broker-max-topic-bytes": 1000,
        "--broker-subscriptions-limit": 10,
        "--broker-batch-limit-messages": 10,
        "--server-allow-origins": "https://app.example.org",
    }
    words = [word for option, value in options.items() for word in (option, str(value))]
    with Daemon("--websocket-deflate", *words) as daemon:
        witness = Witness(daemon)
        before = resident_bytes(daemon.port)
        yield witness
        assert resident_bytes(daemon.port) - before < MEMORY_BYTES
        witness.close()


@pytest.fixture
def witness(tight: Witness) -> Iterator[Witness]:
    tight.check()
    yield tight
    tight.check()


def get(target: str, *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


def post(target: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


JSON = "Content-Type: application/json"
CHUNKED = "POST /t/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "bad JSON": (post("/t/a", b'{"a":', JSON), 400, "invalid_payload"),
    "JSON too deep": (post("/t/a", b"[" * 2000 + b"]" * 2000, JSON), 400, "invalid_payload"),
    "bad UTF-8": (post("/t/a", b"\xc3(", "Content-Type: text/plain"), 400, "invalid_payload"),
    "a bad batch": (post("/publish", b"[{]", JSON), 400, "invalid_command"),
    "a batch of too many": (post("/publish", b"[" + b"1," * 20 + b"1]", JSON), 413, "limit_exceeded"),
    "a batch too large": (post("/publish", b" " * 50_000, JSON), 413, "limit_exceeded"),
    "a batch of another type": (post("/publish", b"", "Content-Type: text/csv"), 415, "unsupported"),
    "a field too long": (get("/t/a", f"X: {'x' * 40_000}"), 431, "limit_exceeded"),
    "fields too many": (get("/t/a", *["X: y"] * 101), 431, "limit_exceeded"),
    "a target too long": (get(f"/t/{'a' * 40_000}"), 414, "limit_exceeded"),
    "a payload too large": (post("/t/a", b"x" * 5001), 413, "limit_exceeded"),
    "a payload too large, in chunks": (
        f"{CHUNKED}1389\r\n{'x' * 5001}\r\n0\r\n\r\n".encode(),
        413,
        "limit_exceeded",
    ),
    "a topic too long": (post(f"/t/{'a' * 1001}", b"x"), 400, "invalid_topic"),
    "too many levels": (post(f"/t/{'/'.join('a' * 129)}", b"x"), 400, "invalid_topic"),
    "a wildcard": (post("/t/a/+", b"x"), 400, "invalid_topic"),
    "a wildcard of URLs": (post("/t/a/**", b"x"), 400, "invalid_topic"),
    "NUL in a topic": (post("/t/a%00", b"x"), 400, "invalid_topic"),
    "a topic of the broker's own": (post("/t/$sys/a", b"x"), 400, "invalid_topic"),
    "no topic": (post("/t/", b"x"), 400, "invalid_topic"),
    "a bad escape": (post("/t/a%GG", b"x"), 400, "remote_protocol_error"),
    "an escape that is not UTF-8": (get("/t/%ff"), 400, "remote_protocol_error"),
    "a malformed cursor": (get("/t/a?since=1;drop"), 400, "invalid_cursor"),
    "a foreign cursor": (get("/t/witness?since=elsewhere-7"), 410, "unrecoverable_position"),
    "a cursor of digits without end": (get(f"/t/a?since=a-{'9' * 5000}"), 400, "invalid_cursor"),
    "filters too many": (get("/poll?" + "&".join(f"topic={n}" for n in range(11))), 413, "limit_exceeded"),
    "a compressed body": (
        post("/t/a", zlib.compress(b"0" * 10_000_000), "Content-Encoding: deflate"),
        415,
        "unsupported",
    ),
    "a compressed transfer": (
        CHUNKED.replace("chunked", "gzip, chunked").encode() + b"0\r\n\r\n",
        501,
        "unsupported",
    ),
    # What request smuggling is made of (RFC 9112 11.2)
    "both lengths": (
        CHUNKED.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n").encode() + b"0\r\n\r\n",
        400,
        "remote_protocol_error",
    ),
    "two lengths": (post("/t/a", b"x", "Content-Length: 2"), 400, "remote_protocol_error"),
    "a negative length": (get("/t/a", "Content-Length: -1"), 400, "remote_protocol_error"),
    "a signed length": (get("/t/a", "Content-Length: +1"), 400, "remote_protocol_error"),
    "two hosts": (get("/t/a", "Host: evil.example.org"), 400, "remote_protocol_error"),
    "no host": (b"GET /t/a HTTP/1.1\r\n\r\n", 400, "remote_protocol_error"),
    "a bare line feed": (b"GET /t/a HTTP/1.1\nHost: localhost\n\n", 400, "remote_protocol_error"),
    "a bare carriage return": (get("/t/a", "X: a\rB: c"), 400, "remote_protocol_error"),
    "a space before the colon": (get("/t/a", "Transfer-Encoding : chunked"), 400, "remote_protocol_error"),
    "a folded line": (get("/t/a", "X: a", " b"), 400, "remote_protocol_error"),
    "NUL in a field": (get("/t/a", "X: a\0b"), 400, "remote_protocol_error"),
    "a chunk size that is none": (f"{CHUNKED}zz\r\n".encode(), 400, "remote_protocol_error"),
    "a chunk size with a sign": (f"{CHUNKED}-1\r\n".encode(), 400, "remote_protocol_error"),
    "a chunk size with a prefix": (f"{CHUNKED}0x1\r\nx\r\n".encode(), 400, "remote_protocol_error"),
    "a chunk size without end": (f"{CHUNKED}{'f' * 17}\r\n".encode(), 400, "remote_protocol_error"),
    "a chunk longer than its size": (f"{CHUNKED}1\r\nxyz\r\n".encode(), 400, "remote_protocol_error"),
    "another version": (b"GET /t/a HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "unsupported"),
    "a preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported"),
    "CONNECT": (
        b"CONNECT evil.example.org:80 HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
        501,
        "unsupported",
    ),
    "no request at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501, "unsupported"),
    # Strangers
    "a foreign page that posts": (post("/t/a", b"x", "Origin: https://evil.example.org"), 403, "forbidden"),
    "a foreign page that opens a WebSocket": (
        handshake("/ws", "Origin: https://evil.example.org"),
        403,
        "forbidden",
    ),
    "a rebound name": (b"GET /t/a HTTP/1.1\r\nHost: evil.example.org\r\n\r\n", 403, "forbidden"),
    # Handshakes
    "a handshake of another version": (
        handshake().replace(b"Version: 13", b"Version: 8"),
        426,
        "remote_protocol_error",
    ),
    "a handshake without a key": (
        handshake().replace(b"Sec-WebSocket-Key", b"X-Key"),
        400,
        "remote_protocol_error",
    ),
    "a handshake with a body": (
        handshake("/ws", "Content-Length: 5") + b"hello",
        400,
        "remote_protocol_error",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status", "code"), REQUESTS.values(), ids=REQUESTS)
def test_a_bad_request_gets_its_status(
    witness: Witness, request_bytes: bytes, status: int, code: str
) -> None:
    answer = exchange(witness.port, request_bytes)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["detail"]


def test_a_cursor_from_the_future_is_refused(witness: Witness) -> None:
    cursor = exchange(witness.port, get("/t/a")).headers["extra-cursor"]
    epoch, offset, *_ = cursor.split("-")
    answer = exchange(witness.port, get(f"/t/a?since={epoch}-{int(offset) + 1}"))
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "invalid_cursor")


SMUGGLED = b"POST /t/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"


@pytest.mark.parametrize(
    "first", ["both lengths", "two lengths", "two hosts", "a bare line feed", "a chunk size with a prefix"]
)
def test_what_follows_a_malformed_request_is_not_read(witness: Witness, first: str) -> None:
    with Raw(witness.port) as raw:
        raw.send(REQUESTS[first][0] + SMUGGLED)
        assert raw.read_all().count(b"HTTP/1.1 ") == 1
    answer = exchange(witness.port, get("/t/smuggled"))
    assert json.loads(answer.body)["messages"] == []


def test_a_body_that_ends_early_is_refused_and_not_published(witness: Witness) -> None:
    with Raw(witness.port) as raw:
        raw.send(post("/t/early", b"x" * 10)[:-5])
        raw.end()
        assert raw.answer().status == 400
    assert json.loads(exchange(witness.port, get("/t/early")).body)["messages"] == []


# Clients that take their time


@pytest.mark.slow
def test_slow_clients_are_cut_off_together(witness: Witness) -> None:
    """One that says nothing, one that never ends its head, and one that never ends its body."""
    with Raw(witness.port) as silent, Raw(witness.port) as slow_head, Raw(witness.port) as slow_body:
        began = time.monotonic()
        slow_head.send(b"GET /t/a HTTP/1.1\r\nHo")
        slow_body.send(post("/t/a", b"x" * 100)[:-50])
        for letter in b"st: loc":
            slow_head.send(bytes([letter]))
            witness.check()
        assert silent.read() == b""
        head = slow_head.answer()
        body = slow_body.answer()
        assert time.monotonic() - began < BODY_TIMEOUT_S + 3
        assert (head.status, json.loads(head.body)["code"]) == (408, "request_timeout")
        assert (body.status, json.loads(body.body)["code"]) == (408, "request_timeout")


def test_a_byte_at_a_time_is_a_request_too(witness: Witness) -> None:
    with Raw(witness.port) as raw:
        for byte in post("/t/slowly", b"[1]", JSON):
            raw.send(bytes([byte]))
        assert raw.answer().status == 201


def test_many_requests_at_once_are_answered_in_order(witness: Witness) -> None:
    with Raw(witness.port) as raw:
        targets = ("/nothing", "/healthz") * 100
        raw.send(b"".join(get(target) for target in targets) + get("/", "Connection: close"))
        statuses = re.findall(rb"HTTP/1.1 (\d+) ", raw.read_all())
    assert statuses == [b"404", b"200"] * 100 + [b"200"]


def flood(raw: Raw, data: bytes) -> int:
    """Send over and over, until nothing more is taken for a while; return how many bytes were."""
    raw.sock.settimeout(0.3)
    sent = 0
    with suppress(TimeoutError):
        while sent < FLOOD_LIMIT_BYTES:
            sent += raw.sock.send(data)
    return sent


@pytest.mark.slow
def test_a_client_that_asks_and_never_reads_is_not_read_either(witness: Witness) -> None:
    with Raw(witness.port, receive_buffer_bytes=4096) as raw:
        assert flood(raw, get("/") * 100) < FLOOD_LIMIT_BYTES
        witness.check()


# Frames


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    return bytes([first]) + client_frame(opcode, payload, bytes(4))[1:]


def deflated(payload: bytes) -> bytes:
    """RFC 7692 7.2.1."""
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"

FRAMES: dict[str, tuple[bytes, int]] = {
    "an unmasked frame": (server_frame(TEXT, b"{}"), 1002),
    "a reserved bit": (b"\xa1" + frame(TEXT, b"{}")[1:], 1002),
    "a reserved opcode": (b"\x83" + frame(TEXT, b"{}")[1:], 1002),
    "a control frame in parts": (frame(PING, b"", fin=False), 1002),
    "a control frame too long": (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126, 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "a close code that is none": (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
    "a close frame of one byte": (frame(CLOSE, b"x"), 1002),
    "bad UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "bad UTF-8 over two frames": (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"("), 1007),
    "the wrong kind of frame": (frame(BINARY, b"\x80"), 1003),
    "a frame too large": (frame(TEXT, b"x" * (FRAME_LIMIT_BYTES + 1)), 1009),
    "a frame that says it is huge": (b"\x81\xff" + (2**62).to_bytes(8, "big") + bytes(4), 1009),
    "a frame whose length has the top bit": (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
    "a message too large in parts": (
        frame(TEXT, b"x" * 6000, fin=False) + frame(CONTINUATION, b"x" * 6000),
        1009,
    ),
    "a compressed bomb": (frame(TEXT, deflated(b"0" * 50_000_000), rsv1=True), 1009),
    "a compressed bomb in parts": (
        frame(TEXT, deflated(b"0" * 9_000_000)[:-100], fin=False, rsv1=True)
        + frame(CONTINUATION, deflated(b"0" * 9_000_000)[-100:]),
        1009,
    ),
    "what does not inflate": (frame(TEXT, b"\xff\xff\xff", rsv1=True), 1002),
}


def open_socket(port: int, *fields: str) -> Raw:
    raw = Raw(port)
    raw.send(handshake("/ws", *fields))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.read(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return raw


def read_frames(raw: Raw, count: int = 100) -> list[tuple[int, bytes]]:
    """Return the opcode and payload of each frame up to a close frame, and at most `count`."""
    data = b""
    found: list[tuple[int, bytes]] = []
    while len(found) < count and (not found or found[-1][0] != CLOSE):
        part = raw.read()
        assert part, "the connection has ended without a close frame"
        data += part
        while len(data) > 1 and (whole := split_frame(data)) is not None:
            opcode, payload, data = whole
            found.append((opcode, payload))
    return found


def split_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the opcode and payload of the first frame, and what follows it; None when it is not whole."""
    size, start = data[1], 2
    if size > 125:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]


@pytest.mark.parametrize(("data", "close_code"), FRAMES.values(), ids=FRAMES)
def test_a_bad_frame_gets_its_close_code(witness: Witness, data: bytes, close_code: int) -> None:
    """RFC 6455 7.4.1."""
    with open_socket(witness.port, DEFLATE) as raw:
        raw.send(data)
        *_, (opcode, payload) = read_frames(raw)
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, close_code)


def test_a_compressed_frame_that_was_not_agreed_upon_is_refused(witness: Witness) -> None:
    with open_socket(witness.port) as raw:
        raw.send(frame(TEXT, deflated(b"{}"), rsv1=True))
        *_, (opcode, payload) = read_frames(raw)
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1002)


COMMANDS: dict[str, tuple[Any, str]] = {
    "bad JSON": (b'{"op":', "invalid_command"),
    "an unknown op": ({"op": "drop table", "id": 1}, "invalid_command"),
    "no object": ([[]], "invalid_command"),
    "JSON too deep": (b"[" * 5000, "invalid_command"),
    "too many commands": ([{"op": "ping"}] * 11, "limit_exceeded"),
    "a wildcard": ({"op": "publish", "id": 1, "topic": "a/#", "data": 1}, "invalid_topic"),
    "a topic too long": ({"op": "publish", "id": 1, "topic": "é" * 501, "data": 1}, "invalid_topic"),
    "a payload too large": ({"op": "publish", "id": 1, "topic": "a", "data": "x" * 6000}, "limit_exceeded"),
    "a payload too deep": (
        b'{"op":"publish","id":1,"topic":"a","data":' + b"[" * 500 + b"]" * 500 + b"}",
        "invalid_payload",
    ),
    "filters too many": (
        {"op": "subscribe", "id": 1, "filter": [f"{n}" for n in range(11)]},
        "limit_exceeded",
    ),
    "a bad filter": ({"op": "subscribe", "id": 1, "filter": "a#"}, "invalid_filter"),
    "a malformed cursor": ({"op": "subscribe", "id": 1, "filter": "a", "since": "-"}, "invalid_cursor"),
}


@pytest.mark.parametrize(("command", "code"), COMMANDS.values(), ids=COMMANDS)
def test_a_bad_command_gets_its_error_and_the_connection_lives(
    witness: Witness, command: Any, code: str
) -> None:
    with open_socket(witness.port) as raw:
        raw.send(frame(TEXT, command if isinstance(command, bytes) else json.dumps(command).encode()))
        raw.send(frame(TEXT, b'{"op":"ping","id":"still here"}'))
        _, (_, error), (_, pong) = read_frames(raw, 3)
        raw.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        *_, (opcode, _) = read_frames(raw)
    assert (json.loads(error)["op"], json.loads(error)["code"]) == ("error", code)
    assert json.loads(pong) == {"op": "pong", "id": "still here"}
    assert opcode == CLOSE


@pytest.mark.slow
def test_a_client_that_pings_and_never_reads_is_not_read_either(witness: Witness) -> None:
    with Raw(witness.port, receive_buffer_bytes=4096) as raw:
        raw.send(handshake())
        pings = frame(PING, b"x" * 125) + frame(TEXT, b'{"op":"ping","id":"' + b"x" * 60 + b'"}')
        assert flood(raw, pings * 100) < FLOOD_LIMIT_BYTES
        witness.check()


def test_refusals_are_counted(witness: Witness) -> None:
    with httpx.Client(base_url=witness.daemon.url) as http:
        metrics = http.get("/metrics").text
    for name in ("extra_protocol_errors_total", 'extra_requests_total{method="POST",status="403"}'):
        found = re.search(rf"^{re.escape(name)} (\d+)$", metrics, re.MULTILINE)
        assert found is not None
        assert int(found[1]) > 0
