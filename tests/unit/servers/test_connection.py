"""HTTP connections: what a peer gets for what it sends, in which order, and what it costs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar

import pytest

from extra.errors import InvalidTopic
from extra.http import (
    Application,
    Handler,
    MethodNotAllowed,
    Request,
    Response,
    ResponseCut,
    StreamingResponse,
    StreamTaker,
    WebSocketResponse,
    WebSocketTaker,
)
from extra.servers.connection import (
    DRAIN_LIMIT_BYTES,
    RECEIVED_HIGH_WATER_BYTES,
    REFUSING_LIMIT,
    format_address,
)
from extra.servers.limits import ServerLimits
from tests.unit.servers.serving import replies, serving, turns

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
GET_LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


def post(body: bytes, *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo(request: Request) -> Response:
    return Response(200, await request.body())


async def tell_path(request: Request) -> Response:
    return Response(200, request.path.encode())


class Gate:
    """A handler that waits until it is let through, and notes what became of each request."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.cancelled: list[str] = []
        self.opened = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.entered.append(request.path)
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.path)
            raise
        return Response(200, request.path.encode())


# Answers.


async def test_answer_is_written_in_the_turn_of_the_request_and_without_a_task() -> None:
    async with serving() as run:
        tasks = asyncio.all_tasks()
        peer = run.connect(GET)
        assert peer.received == (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: extra\r\n\r\nhello"
        )
        assert asyncio.all_tasks() == tasks


async def test_connection_is_used_again() -> None:
    async with serving() as run:
        peer = run.connect()
        for count in (1, 2, 3):
            peer.send(GET)
            assert len(replies(peer.received)) == count
        assert run.counters.accepted == 1


async def test_request_may_come_byte_by_byte() -> None:
    async with serving(echo) as run:
        peer = run.connect()
        for byte in post(b"hello") + GET:
            peer.send(bytes([byte]))
        await turns()
        assert [reply.body for reply in replies(peer.received)] == [b"hello", b""]


@pytest.mark.parametrize(
    ("request_bytes", "connection", "closed"),
    [
        (GET, None, False),
        (GET_LAST, "close", True),
        (b"GET / HTTP/1.0\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", False),
    ],
)
async def test_connection_ends_as_the_request_says(
    request_bytes: bytes, connection: str | None, closed: bool
) -> None:
    """RFC 9112 9.3."""
    async with serving() as run:
        peer = run.connect(request_bytes)
        await turns()
        assert replies(peer.received)[0].fields.get("connection") == connection
        assert peer.lost is closed


async def test_head_gets_the_head_alone() -> None:
    """RFC 9110 9.3.2."""
    async with serving() as run:
        peer = run.connect(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        (reply,) = replies(peer.received, head=True)
        assert (reply.status, reply.fields["content-length"]) == (200, "5")
        peer.send(GET)
        assert peer.received.endswith(b"hello")


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_neither_body_nor_length(status: int) -> None:
    """RFC 9110 8.6."""

    async def answer(request: Request) -> Response:
        return Response(status, b"not sent")

    async with serving(answer) as run:
        (reply,) = replies(run.connect(GET).received)
        assert (reply.status, reply.body) == (status, b"")
        assert "content-length" not in reply.fields


async def test_large_body_is_sent_whole() -> None:
    async def answer(request: Request) -> Response:
        return Response(200, b"x" * 1_000_000)

    async with serving(answer) as run:
        (reply,) = replies(run.connect(GET).received)
        assert len(reply.body) == 1_000_000


async def test_request_knows_its_client() -> None:
    async def tell_client(request: Request) -> Response:
        return Response(200, request.client.encode())

    async with serving(tell_client) as run:
        (reply,) = replies(run.connect(GET, peername=("2001:db8::1", 9, 0, 0)).received)
        assert reply.body == b"[2001:db8::1]:9"


@pytest.mark.parametrize(
    ("address", "text"),
    [(("192.0.2.1", 4000), "192.0.2.1:4000"), (("::1", 1, 0, 0), "[::1]:1"), ("", ""), (None, "")],
)
def test_address_of_a_peer_as_text(address: object, text: str) -> None:
    assert format_address(address) == text


# Order.


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(tell_path) as run:
        peer = run.connect(get("/1") + get("/2") + get("/3"))
        assert [reply.body for reply in replies(peer.received)] == [b"/1", b"/2", b"/3"]


async def test_requests_behind_one_that_waits_wait_as_well() -> None:
    gate = Gate()
    async with serving(gate) as run:
        peer = run.connect(get("/1") + get("/2"))
        peer.send(get("/3"))
        await turns()
        assert gate.entered == ["/1"]
        gate.opened.set()
        await turns(20)
        assert [reply.body for reply in replies(peer.received)] == [b"/1", b"/2", b"/3"]


async def test_one_connection_does_not_take_a_turn_for_itself() -> None:
    async with serving(tell_path, limits=ServerLimits(pipeline_limit=4)) as run:
        peer = run.connect(b"".join(get(f"/{number}") for number in range(10)))
        other = run.connect(GET)
        seen = []
        for _ in range(4):
            seen.append(len(replies(peer.received)))
            await asyncio.sleep(0)
        assert seen == [4, 8, 10, 10]
        assert len(replies(other.received)) == 1
        assert [reply.body for reply in replies(peer.received)] == [b"/%d" % number for number in range(10)]


async def test_what_is_received_behind_a_request_that_waits_is_bounded_and_not_lost() -> None:
    gate = Gate()
    async with serving(gate) as run:
        peer = run.connect(get("/first"))
        behind = get("/" + "x" * 1000)
        count = RECEIVED_HIGH_WATER_BYTES // len(behind) + 1
        for _ in range(2):
            peer.send(behind * count)
        assert not peer.is_reading()
        gate.opened.set()
        await turns(100)
        assert peer.is_reading()
        assert len(replies(peer.received)) == 2 * count + 1


async def test_next_request_waits_while_the_peer_does_not_take_the_answer() -> None:
    calls = []

    async def answer(request: Request) -> Response:
        calls.append(request.path)
        return Response(200, b"x" * 100_000)

    async with serving(answer) as run:
        peer = run.connect()
        peer.stall()
        peer.send(get("/1") + get("/2") + get("/3"))
        await turns()
        assert calls == ["/1"]
        peer.take()
        assert calls == ["/1", "/2", "/3"]
        assert len(replies(peer.received)) == 3


async def test_context_of_one_request_is_not_that_of_the_next() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    async def answer(request: Request) -> Response:
        before = variable.get()
        variable.set(request.path)
        if request.path == "/2":
            await asyncio.sleep(0)
        return Response(200, f"{before} {variable.get()}".encode())

    async with serving(answer) as run:
        peer = run.connect(get("/1") + get("/2") + get("/3"))
        await turns()
        bodies = [reply.body for reply in replies(peer.received)]
        assert bodies == [b"clean /1", b"clean /2", b"clean /3"]


# Bodies that come in.


@pytest.mark.parametrize(
    "data",
    [
        post(b"hello"),
        CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        CHUNKED + b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    ],
)
async def test_body_reaches_the_handler(data: bytes) -> None:
    async with serving(echo) as run:
        assert replies(run.connect(data).received)[0].body == b"hello"
        peer = run.connect()
        for byte in data:
            peer.send(bytes([byte]))
        await turns()
        peer.send(post(b"next"))
        assert [reply.body for reply in replies(peer.received)] == [b"hello", b"next"]


async def test_handler_takes_a_body_as_it_arrives() -> None:
    parts: list[bytes] = []

    async def collect(request: Request) -> Response:
        async for part in request.stream():
            parts.append(part)  # noqa: PERF401 - one after another is what is tested
        return Response(200)

    async with serving(collect) as run:
        peer = run.connect(post(b"x" * 6)[:-6])
        for part in (b"ab", b"cd", b"ef"):
            peer.send(part)
            await turns()
        assert parts == [b"ab", b"cd", b"ef"]
        assert replies(peer.received)[0].status == 200


async def test_peer_waits_while_the_handler_does_not_take_its_body() -> None:
    gate = asyncio.Event()

    async def late(request: Request) -> Response:
        await gate.wait()
        return Response(200, str(len(await request.body())).encode())

    async with serving(late) as run:
        body = b"x" * (3 * RECEIVED_HIGH_WATER_BYTES)
        peer = run.connect(post(body)[: -len(body)])
        peer.send(body[:RECEIVED_HIGH_WATER_BYTES])
        assert not peer.is_reading()
        peer.send(body[RECEIVED_HIGH_WATER_BYTES:])
        run.wait(100)  # the peer is not to blame
        gate.set()
        await turns(10)
        assert replies(peer.received)[0].body == str(len(body)).encode()
        assert peer.is_reading()


async def test_body_that_is_announced_too_large_is_refused_before_it_comes() -> None:
    async with serving(echo, limits=ServerLimits(body_limit_bytes=10)) as run:
        peer = run.connect(post(b"x" * 11)[:-11])
        (reply,) = replies(peer.received)
        assert reply.status == 413
        assert b"body larger than body_limit_bytes=10" in reply.body
        peer = run.connect(post(b"x" * 10))
        assert replies(peer.received)[0].status == 200


async def test_chunked_body_is_refused_when_it_has_become_too_large() -> None:
    async with serving(echo, limits=ServerLimits(body_limit_bytes=10)) as run:
        peer = run.connect(CHUNKED + b"6\r\nabcdef\r\n")
        peer.send(b"6\r\nabcdef\r\n")
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (413, "close")


async def test_error_in_a_chunked_body_is_the_answer_to_whoever_reads_it() -> None:
    async with serving(echo) as run:
        peer = run.connect(CHUNKED + b"3\r\nabc\r\n0x3\r\n")
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (400, "close")
        peer = run.connect(CHUNKED + b"3\r\nabc\r\n")
        peer.send(b"zzz\r\n")
        await turns()
        assert replies(peer.received)[0].status == 400
        assert run.counters.protocol_errors == 2


async def test_error_in_a_body_that_nobody_reads_ends_the_connection_after_the_answer() -> None:
    async with serving() as run:
        peer = run.connect(CHUNKED + b"zzz\r\n" + GET)
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (200, "close")
        assert peer.received_eof


async def test_short_body_that_nobody_reads_is_dropped_and_the_connection_goes_on() -> None:
    async with serving() as run:
        body = b"x" * DRAIN_LIMIT_BYTES
        peer = run.connect(post(body)[: -len(body)])
        assert "connection" not in replies(peer.received)[0].fields
        peer.send(body[:1000])
        peer.send(body[1000:] + GET)
        assert len(replies(peer.received)) == 2


async def test_long_body_that_nobody_reads_ends_the_connection() -> None:
    async with serving() as run:
        size = DRAIN_LIMIT_BYTES + 1
        for data in (post(b"x" * size)[:-size], CHUNKED):
            peer = run.connect(data)
            assert replies(peer.received)[0].fields["connection"] == "close"
            assert peer.received_eof
            peer.send(b"still sending")
            peer.send_eof()
            await turns()
            assert peer.lost


async def test_body_is_out_of_reach_once_the_request_is_answered() -> None:
    kept: list[Request] = []

    async def answer(request: Request) -> Response:
        kept.append(request)
        return Response(200)

    async with serving(answer) as run:
        run.connect(post(b"abc")[:-3])
        with pytest.raises(Exception, match="the request has been answered"):
            await kept[0].body()


# Expectations.


async def test_peer_is_told_to_continue_when_the_handler_asks_for_the_body() -> None:
    """RFC 9110 10.1.1."""
    gate = asyncio.Event()

    async def late(request: Request) -> Response:
        await gate.wait()
        return Response(200, await request.body())

    async with serving(late) as run:
        peer = run.connect(post(b"hello", b"Expect: 100-continue")[:-5])
        await turns()
        assert peer.received == b""
        gate.set()
        await turns()
        assert peer.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"he")
        await turns()
        peer.send(b"llo")
        await turns()
        go_on, reply = replies(peer.received)
        assert (go_on.status, reply.status, reply.body) == (100, 200, b"hello")


async def test_nobody_is_told_to_continue_when_the_body_is_here_already() -> None:
    async with serving(echo) as run:
        peer = run.connect(post(b"hello", b"Expect: 100-continue"))
        assert [reply.status for reply in replies(peer.received)] == [200]


async def test_nobody_is_told_to_continue_with_a_body_that_is_too_large_or_not_wanted() -> None:
    async with serving(echo, limits=ServerLimits(body_limit_bytes=3)) as run:
        peer = run.connect(post(b"hello", b"Expect: 100-continue")[:-5])
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (413, "close")
    async with serving() as run:
        peer = run.connect(post(b"hello", b"Expect: 100-continue")[:-5])
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (200, "close")


# Errors.


async def test_error_of_a_handler_is_a_problem_document_and_the_connection_lives() -> None:
    async def fail(request: Request) -> Response:
        if request.path == "/status":
            raise MethodNotAllowed("not here", "GET")
        raise InvalidTopic("no topic")

    async with serving(fail) as run:
        peer = run.connect(get("/status") + get("/"))
        refused, invalid = replies(peer.received)
        assert (refused.status, refused.fields["allow"]) == (405, "GET")
        assert refused.fields["content-type"] == "application/problem+json"
        assert (invalid.status, b'"code":"invalid_topic"' in invalid.body) == (400, True)
        assert not peer.is_closing()


@pytest.mark.parametrize("suspends", [False, True])
async def test_bug_in_a_handler_is_logged_and_says_nothing(
    suspends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: Request) -> Response:
        if suspends:
            await asyncio.sleep(0)
        raise ZeroDivisionError("secret")

    async with serving(fail) as run:
        peer = run.connect(GET)
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.status, b"secret" in reply.body) == (500, False)
        assert not peer.is_closing()
        assert run.counters.handler_failures == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("extra.servers", logging.ERROR)


async def test_field_that_cannot_be_sent_is_a_bug_of_the_handler() -> None:
    async def split(request: Request) -> Response:
        return Response(200, b"x", headers=[("X", "a\r\nSet-Cookie: evil")])

    async with serving(split) as run:
        (reply,) = replies(run.connect(GET).received)
        assert (reply.status, "set-cookie" in reply.fields) == (500, False)


@pytest.mark.parametrize("eof", [False, True])
async def test_nothing_is_answered_twice(eof: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What fails behind the answer ends the connection instead: here, the access log."""

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    async with serving(echo, access_log=fail) as run:
        peer = run.connect(post(b"hello")[: -1 if eof else None])
        if eof:
            peer.send_eof()
        await turns()
        assert peer.received.count(b"HTTP/1.1") == 1
        assert peer.lost
    assert len(caplog.records) == 1


async def test_connection_that_was_said_to_end_ends() -> None:
    """RFC 9112 9.6: also when it could go on by then."""
    gate = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await gate.wait()

    async def answer(request: Request) -> Response:
        return Response(200, parts())

    async with serving(answer) as run:
        peer = run.connect(CHUNKED)
        peer.send(b"0\r\n\r\n")
        gate.set()
        await turns()
        assert replies(peer.received)[0].fields["connection"] == "close"
        assert peer.lost


async def test_cancelled_handler_ends_the_connection() -> None:
    async def give_up(request: Request) -> Response:
        if request.path == "/late":
            await asyncio.sleep(0)
        raise asyncio.CancelledError

    async with serving(give_up) as run:
        peers = [run.connect(get("/")), run.connect(get("/late"))]
        await turns()
        assert [peer.lost for peer in peers] == [True, True]


async def test_what_is_no_request_is_answered_after_the_requests_before_it() -> None:
    gate = Gate()
    async with serving(gate) as run:
        peer = run.connect(get("/1") + b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + get("/2"))
        await turns()
        assert peer.received == b""
        gate.opened.set()
        await turns()
        answer, refusal = replies(peer.received)
        assert answer.body == b"/1"
        assert (refusal.status, refusal.fields["connection"]) == (400, "close")
        assert refusal.fields["content-type"] == "application/problem+json"
        assert gate.entered == ["/1"]
        assert run.counters.protocol_errors == 1


async def test_refusal_reaches_a_peer_that_is_still_sending() -> None:
    """RFC 9112 9.6: our side ends, theirs is read until it ends."""
    async with serving() as run:
        peer = run.connect(b"GET / HTTP/1.1\r\nX: " + b"y" * 50_000)
        assert replies(peer.received)[0].status == 431
        assert peer.received_eof
        for _ in range(10):
            peer.send(b"y" * 50_000)
        await turns()
        assert not peer.lost
        peer.send_eof()
        await turns()
        assert peer.lost


# The peer goes away.


@pytest.mark.parametrize("leave", ["send_eof", "reset"])
async def test_handler_that_waits_is_cancelled_when_the_peer_leaves(leave: str) -> None:
    gate = Gate()
    async with serving(gate) as run:
        peer = run.connect(get("/poll"))
        await turns()
        getattr(peer, leave)()
        await turns()
        assert gate.cancelled == ["/poll"]
        assert peer.lost


async def test_handler_is_cancelled_before_its_task_has_run() -> None:
    gate = Gate()
    async with serving(gate) as run:
        run.connect(get("/poll")).send_eof()
        await turns()
        assert gate.cancelled == ["/poll"]


async def test_handler_that_will_not_be_cancelled_harms_nobody() -> None:
    async def stubborn(request: Request) -> Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Response(200)
        raise AssertionError

    async with serving(stubborn) as run:
        peer = run.connect(GET)
        peer.reset()
        await turns()
        assert peer.lost
        assert peer.received == b""


async def test_peer_that_has_half_closed_gets_the_answers_that_need_no_waiting() -> None:
    async with serving(tell_path, limits=ServerLimits(pipeline_limit=1)) as run:
        peer = run.connect(get("/1") + get("/2") + get("/3"))
        peer.send_eof()
        await turns(10)
        assert [reply.body for reply in replies(peer.received)] == [b"/1", b"/2", b"/3"]
        assert peer.lost


async def test_answers_that_are_on_their_way_are_delivered_to_a_peer_that_has_half_closed() -> None:
    async def answer(request: Request) -> Response:
        return Response(200, b"x" * 100_000)

    async with serving(answer) as run:
        peer = run.connect()
        peer.stall()
        peer.send(get("/1") + get("/2"))
        peer.send_eof()
        await turns()
        assert not peer.lost
        peer.take()
        await turns()
        assert len(replies(peer.received)) == 2
        assert peer.lost


async def test_body_that_ends_too_early_is_answered() -> None:
    async with serving(echo) as run:
        peer = run.connect(post(b"hello")[:-2])
        peer.send_eof()
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.status, b"connection ended before the body" in reply.body) == (400, True)
        assert peer.lost


async def test_connection_that_ends_within_a_head_is_closed() -> None:
    async with serving() as run:
        peer = run.connect(b"GET / HT")
        peer.send_eof()
        await turns()
        assert (peer.lost, peer.received) == (True, b"")


# Bodies that go out in parts.


class Parts:
    """A body in parts, which notes whether it was ended."""

    def __init__(self, count: int = 3, size: int = 6) -> None:
        self.count = count
        self.size = size
        self.given = 0
        self.ended = False

    async def __call__(self, request: Request) -> Response:
        return Response(200, self._parts(), content_type="text/plain")

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            for number in range(self.count):
                self.given += 1
                yield b"%0*d" % (self.size, number)
                await asyncio.sleep(0)
        finally:
            self.ended = True


async def test_parts_are_sent_as_chunks() -> None:
    parts = Parts()
    async with serving(parts) as run:
        peer = run.connect(GET)
        await turns()
        assert peer.received.endswith(b"\r\n\r\n6\r\n000000\r\n6\r\n000001\r\n6\r\n000002\r\n0\r\n\r\n")
        peer.send(GET_LAST)
        await turns(10)
        _, last = replies(peer.received)
        assert (last.body, last.fields["connection"]) == (b"000000000001000002", "close")
        assert peer.lost


async def test_parts_end_with_the_connection_in_1_0() -> None:
    async with serving(Parts()) as run:
        peer = run.connect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await turns(10)
        (reply,) = replies(peer.received)
        assert (reply.body, "transfer-encoding" in reply.fields) == (b"000000000001000002", False)
        assert peer.lost


async def test_empty_part_does_not_end_the_body() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b""
        yield b"b"

    async def answer(request: Request) -> Response:
        return Response(200, parts())

    async with serving(answer) as run:
        assert replies(run.connect(GET).received)[0].body == b"ab"


async def test_parts_wait_for_the_peer() -> None:
    parts = Parts(count=100, size=10_000)
    async with serving(parts) as run:
        peer = run.connect()
        peer.stall()
        peer.send(GET)
        await turns(300)
        assert parts.given == 7  # 64 KiB and a bit
        peer.take()
        await turns(300)
        assert len(replies(peer.received)[0].body) == 1_000_000


async def test_parts_are_ended_when_the_peer_leaves() -> None:
    parts = Parts(count=100, size=10_000)
    async with serving(parts) as run:
        peer = run.connect()
        peer.stall()
        peer.send(GET)
        await turns(300)
        peer.reset()
        await turns()
        assert parts.ended


async def test_parts_that_fail_are_not_taken_for_a_whole_body(caplog: pytest.LogCaptureFixture) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    async def answer(request: Request) -> Response:
        return Response(200, parts())

    async with serving(answer) as run:
        peer = run.connect(GET)
        await turns()
        assert peer.lost
        assert not peer.received.endswith(b"0\r\n\r\n")
        assert run.counters.requests["GET", 200] == 1
        assert run.counters.handler_failures == 1
    (record,) = caplog.records
    assert record.getMessage() == "GET /: a handler has failed"


@pytest.mark.parametrize("length", [None, 100])
async def test_response_that_is_cut_ends_the_connection(
    length: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise ResponseCut("the source is gone")

    async def answer(request: Request) -> Response:
        response = Response(200, parts())
        response.length = length
        return response

    async with serving(answer) as run:
        peer = run.connect(GET)
        await turns()
        assert peer.lost
        assert not peer.received.endswith(b"0\r\n\r\n")
        assert run.counters.handler_failures == 0
    assert [record.getMessage() for record in caplog.records] == ["GET /: cut: the source is gone"]


async def test_whoever_is_told_to_upgrade_is_told_that_this_is_about_the_connection() -> None:
    """RFC 9110 7.8."""

    async def answer(request: Request) -> Response:
        return Response(426, headers=[("Upgrade", "websocket")])

    async with serving(answer) as run:
        assert b"\r\nConnection: upgrade\r\n" in run.connect(GET).received
        received = run.connect(GET_LAST).received
        assert b"\r\nConnection: upgrade\r\nConnection: close\r\n" in received


@pytest.mark.parametrize("status", [100, 103, 199])
async def test_interim_status_is_no_answer(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: Request) -> Response:
        return Response(status)

    async with serving(answer) as run:
        peer = run.connect(GET)
        assert peer.received.startswith(b"HTTP/1.1 500 ")
    assert f"status {status}, which ends no request" in caplog.text


async def test_parts_are_not_begun_for_head() -> None:
    parts = Parts()
    async with serving(parts) as run:
        peer = run.connect(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        (reply,) = replies(peer.received, head=True)
        assert (reply.fields["transfer-encoding"], parts.given) == ("chunked", 0)


# Responses that go on.


class Taker(StreamTaker, WebSocketTaker):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def opened(self, wire: object) -> None:
        self.calls.append("opened")

    def received_text(self, data: bytes) -> None:
        self.calls.append(data)

    def received_binary(self, data: bytes) -> None:
        self.calls.append(data)

    def writable(self) -> None:
        self.calls.append("writable")

    def closed(self, *why: object) -> None:
        self.calls.append(("closed", *why))


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def streaming(taker: Taker, **options: object) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.path == "/ws":
            return WebSocketResponse(taker, headers=[("X", "y")])
        return StreamingResponse(taker, content_type="text/event-stream", headers=[("X", "y")])

    return answer


async def test_stream_gets_the_connection_after_its_head() -> None:
    """RFC 9112 6.3: without a length the body ends with the connection."""
    taker = Taker()
    async with serving(streaming(taker)) as run:
        peer = run.connect(GET + GET)
        (reply,) = replies(peer.received)
        assert reply.fields == {
            "connection": "close",
            "content-type": "text/event-stream",
            "date": "Thu, 01 Jan 1970 00:00:00 GMT",
            "server": "extra",
            "x": "y",
        }
        assert taker.calls == ["opened"]
        assert (run.counters.http_connections_now, run.counters.streams_now) == (0, 1)
    assert taker.calls == ["opened", ("closed",)]


async def test_websocket_gets_the_connection_after_the_handshake() -> None:
    """RFC 6455 4.2.2."""
    taker = Taker()
    async with serving(streaming(taker)) as run:
        peer = run.connect(UPGRADE)
        (reply,) = replies(peer.received)
        assert reply.status == 101
        assert reply.fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (reply.fields["x"], "content-length" in reply.fields) == ("y", False)
        assert taker.calls == ["opened"]
        assert (run.counters.http_connections_now, run.counters.websockets_now) == (0, 1)
    assert taker.calls == ["opened", ("closed", 1006, "")]


@pytest.mark.parametrize(
    ("data", "status", "field"),
    [
        (UPGRADE.replace(b": 13", b": 8"), 426, ("sec-websocket-version", "13")),
        (get("/ws"), 426, ("upgrade", "websocket")),
        (UPGRADE.replace(b"GET", b"PUT"), 405, ("allow", "GET")),
        (UPGRADE.replace(b"dGhl", b"!"), 400, None),
        (UPGRADE[:-2] + b"Content-Length: 3\r\n\r\nabc", 400, None),
    ],
)
async def test_handshake_that_is_none_is_answered_and_the_taker_told(
    data: bytes, status: int, field: tuple[str, str] | None
) -> None:
    taker = Taker()
    async with serving(streaming(taker)) as run:
        peer = run.connect(data + GET_LAST)
        replied = [line for line in peer.received.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
        assert replied[0].startswith(b"HTTP/1.1 %d" % status)
        assert taker.calls[0] == ("closed", 1006, "")
        if field is not None:
            assert b"%b: %b" % (field[0].title().encode(), field[1].encode()) in peer.received.replace(
                b"WebSocket", b"Websocket"
            )


async def test_taker_is_told_when_it_cannot_be_opened() -> None:
    for data in (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD /ws HTTP/1.1\r\nHost: x\r\n\r\n"):
        taker = Taker()
        async with serving(streaming(taker)) as run:
            run.connect(data)
            assert [call for call in taker.calls if isinstance(call, tuple)] == taker.calls
            assert len(taker.calls) == 1


async def test_taker_is_told_when_the_peer_is_gone_before_the_answer() -> None:
    takers = [Taker(), Taker()]

    async def stubborn(request: Request) -> Response:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return WebSocketResponse(takers[0]) if request.path == "/ws" else StreamingResponse(takers[1])

    async with serving(stubborn) as run:
        run.connect(UPGRADE).reset()
        run.connect(GET).reset()
        await turns()
        assert takers[0].calls == [("closed", 1006, "")]
        assert takers[1].calls == [("closed",)]


async def test_taker_is_told_when_the_head_cannot_be_sent() -> None:
    takers = [Taker(), Taker()]

    async def split(request: Request) -> Response:
        bad = [("X", "a\r\nb")]
        if request.path == "/ws":
            return WebSocketResponse(takers[0], headers=bad)
        return StreamingResponse(takers[1], headers=bad)

    async with serving(split) as run:
        for data in (UPGRADE, GET):
            assert replies(run.connect(data).received)[0].status == 500
        assert takers[0].calls == [("closed", 1006, "")]
        assert takers[1].calls == [("closed",)]


# Deadlines.


async def test_head_has_to_arrive_in_time_however_it_drips() -> None:
    async with serving() as run:
        peer = run.connect()
        for byte in GET[:9]:
            peer.send(bytes([byte]))
            run.wait(1)
        assert peer.received == b""
        run.wait(1)
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (408, "close")
        assert b"head not received within head_timeout_s=10" in reply.body
        assert sum(run.counters.timeouts.values()) == 1


async def test_connection_on_which_nothing_is_asked_is_closed_in_silence() -> None:
    async with serving() as run:
        fresh = run.connect()
        used = run.connect(GET)
        run.wait(10)
        await turns()
        assert (fresh.lost, fresh.received) == (True, b"")
        assert not used.lost
        run.wait(65)
        await turns()
        assert used.lost
        assert run.counters.timeouts == {"head_timeout_s": 1, "idle_timeout_s": 1}


async def test_body_has_to_arrive_in_time() -> None:
    async with serving(echo) as run:
        peer = run.connect(post(b"hello")[:-5])
        run.wait(29)
        peer.send(b"h")
        assert peer.received == b""
        run.wait(2)
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (408, "close")
        assert b"body not received within body_timeout_s=30" in reply.body


async def test_body_that_comes_along_gets_more_time() -> None:
    async with serving(echo) as run:
        body = b"x" * (100 * 16_384)
        peer = run.connect(post(body)[: -len(body)])
        for start in range(0, len(body), 16_384):
            peer.send(body[start : start + 16_384])
            await turns()
            run.wait(1)
        assert replies(peer.received)[0].status == 200


async def test_time_cannot_be_saved_up() -> None:
    async with serving(echo) as run:
        body = b"x" * (100 * 16_384)
        peer = run.connect(post(body)[: -len(body)])
        peer.send(body[:-1])
        await turns()
        run.wait(31)
        await turns()
        assert replies(peer.received)[0].status == 408


async def test_deadline_of_a_body_that_was_not_asked_for_begins_with_continue() -> None:
    gate = asyncio.Event()

    async def late(request: Request) -> Response:
        await gate.wait()
        return Response(200, await request.body())

    async with serving(late) as run:
        peer = run.connect(post(b"hello", b"Expect: 100-continue")[:-5])
        run.wait(100)
        gate.set()
        await turns()
        run.wait(29)
        assert [reply.status for reply in replies(peer.received)] == [100]
        run.wait(2)
        await turns()
        assert [reply.status for reply in replies(peer.received)] == [100, 408]


async def test_body_that_is_dropped_has_to_arrive_in_time() -> None:
    async with serving() as run:
        peer = run.connect(post(b"hello")[:-5])
        run.wait(30)
        assert peer.received_eof
        run.wait(6)
        await turns()
        assert peer.lost


async def test_handler_may_take_its_time() -> None:
    gate = Gate()
    async with serving(gate) as run:
        peer = run.connect(get("/poll"))
        run.wait(1000)
        gate.opened.set()
        await turns()
        assert replies(peer.received)[0].status == 200


async def test_peer_that_takes_nothing_is_aborted() -> None:
    async def answer(request: Request) -> Response:
        return Response(200, b"x" * 1_000_000)

    async with serving(answer) as run:
        peer = run.connect()
        peer.stall()
        peer.send(GET)
        run.wait(29)
        peer.take(1)  # slow, but alive
        run.wait(29)
        await turns()
        assert not peer.lost
        run.wait(2)
        await turns()
        assert peer.lost
        assert sum(run.counters.timeouts.values()) == 1


# The server.


async def test_connections_beyond_the_limit_are_told_to_come_back() -> None:
    async with serving(limits=ServerLimits(connections_limit=2)) as run:
        first, second, third = (run.connect() for _ in range(3))
        (reply,) = replies(third.received)
        assert (reply.status, reply.fields["retry-after"]) == (503, "5")
        assert b"more connections than connections_limit=2" in reply.body
        third.send(GET)
        third.send_eof()
        await turns()
        assert third.lost
        for peer in (first, second):
            peer.send(GET)
            assert replies(peer.received)[0].status == 200
        assert (run.counters.accepted, run.counters.refused) == (3, 1)


async def test_refusals_are_bounded_as_well() -> None:
    async with serving(limits=ServerLimits(connections_limit=0)) as run:
        for _ in range(REFUSING_LIMIT):
            assert run.connect().received
        assert run.connect().received == b""


async def test_refusals_call_limits_by_the_names_that_are_known() -> None:
    names = {
        "connections_limit": "server.connections",
        "head_limit_bytes": "server.head",
        "headers_limit": "server.headers",
        "head_timeout_s": "server.head_s",
    }
    limits = ServerLimits(connections_limit=1, head_limit_bytes=300, headers_limit=3, names=names)
    async with serving(limits=limits) as run:
        requests = {
            b"GET /%b HTTP/1.1\r\n" % (b"x" * 300): b"target longer than server.head=300",
            GET[:-2] + b"X: %b\r\n\r\n" % (b"x" * 300): b"head larger than server.head=300",
            GET[:-2] + b"X: 1\r\n" * 3 + b"\r\n": b"more header fields than server.headers=3",
        }
        for request, message in requests.items():
            peer = run.connect(request)
            assert message in peer.received
            peer.reset()
            await turns()
        first = run.connect(b"GET")
        assert b"more connections than server.connections=1" in run.connect().received
        run.wait(10)
        assert b"head not received within server.head_s=10" in first.received


# What all connections keep.


async def test_bodies_of_all_connections_are_bounded_together() -> None:
    async with serving(echo, limits=ServerLimits(receive_limit_bytes=100_000)) as run:
        unfinished = post(b"x" * 60_000)[:-1]
        first, second = run.connect(unfinished), run.connect(unfinished)
        await turns()
        (reply,) = replies(second.received)
        assert (reply.status, reply.fields["connection"], reply.fields["retry-after"]) == (503, "close", "5")
        assert b"larger than receive_limit_bytes=100000" in reply.body
        first.send(b"x")  # whoever was there goes on
        await turns()
        assert len(replies(first.received)[0].body) == 60_000
        assert run.counters.buffered_bytes_now == 0


async def test_what_a_handler_has_begun_to_take_still_counts() -> None:
    async with serving(echo) as run:
        peer = run.connect(post(b"x" * 1000)[:-1])
        await turns()
        assert run.counters.buffered_bytes_now == 999
        peer.reset()
        await turns()
        assert run.counters.buffered_bytes_now == 0


async def test_parts_that_a_handler_has_taken_do_not_count() -> None:
    async def drop(request: Request) -> Response:
        async for _ in request.stream():
            pass
        return Response(204)

    async with serving(drop, limits=ServerLimits(receive_limit_bytes=1000)) as run:
        peer = run.connect(post(b"x" * 5000)[:-4900])
        for _ in range(49):
            await turns()
            peer.send(b"x" * 100)
        await turns()
        assert replies(peer.received)[0].status == 204


async def test_requests_that_arrive_whole_are_answered_when_nothing_more_may_be_kept() -> None:
    async with serving(echo, limits=ServerLimits(receive_limit_bytes=1000)) as run:
        run.connect(post(b"x" * 1000)[:-1])
        await turns()
        peer = run.connect(post(b"y" * 900) + GET)
        assert [reply.status for reply in replies(peer.received)] == [200, 200]


async def test_heads_count() -> None:
    async with serving(limits=ServerLimits(receive_limit_bytes=1000)) as run:
        peer = run.connect(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000)
        (reply,) = replies(peer.received)
        assert reply.status == 503
        await turns()
        assert run.counters.buffered_bytes_now == 0


async def test_last_request_of_a_packet_ends_the_connection_and_no_other() -> None:
    async with serving() as run:
        peer = run.connect(GET * 3 + GET_LAST)
        found = [reply.fields.get("connection") for reply in replies(peer.received)]
        assert found == [None, None, None, "close"]


async def test_requests_behind_one_at_work_are_dropped_and_its_answer_is_the_last() -> None:
    """RFC 9112 9.3.2: a client sends those again that have had no answer when the connection closes."""
    gate = Gate()
    async with serving(gate, limits=ServerLimits(receive_limit_bytes=100)) as run:
        peer = run.connect(get("/1") + get("/2") * 500)
        gate.opened.set()
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.body, reply.fields["connection"]) == (b"/1", "close")
        assert run.counters.limits_met == {"receive_limit_bytes": 1}


async def test_idle_connection_is_retired_at_once_and_others_after_their_answer() -> None:
    gate = Gate()
    async with serving(gate) as run:
        idle, busy = run.connect(), run.connect(get("/busy"))
        run.context.draining = True
        for connection in list(run.context.connections):
            connection.retire()
        await turns()
        assert (idle.lost, busy.lost) == (True, False)
        gate.opened.set()
        await turns()
        (reply,) = replies(busy.received)
        assert (reply.body, reply.fields["connection"]) == (b"/busy", "close")
        assert busy.lost


async def test_answers_are_counted_and_told_to_the_access_log() -> None:
    told: list[tuple[str, int, int, float]] = []

    def access_log(request: Request, status: int, size: int, seconds: float) -> None:
        told.append((request.path, status, size, seconds))

    gate = Gate()
    async with serving(gate, access_log=access_log) as run:
        peer = run.connect(get("/a") + b"nonsense\r\n\r\n")
        run.wait(3)
        gate.opened.set()
        await turns()
        assert told == [("/a", 200, 2, 3.0)]
        assert run.counters.requests == {("GET", 200): 1, ("", 501): 1}
        assert run.counters.bytes_received == len(get("/a")) + 12
        peer.send_eof()
        await turns()
        assert run.counters.bytes_sent == len(peer.received)


# Bodies in parts whose length is known.


@pytest.mark.parametrize("parts", [[b"abc", b"def"], [b"abcdef"], [b"", b"abcdef", b""]])
async def test_parts_of_a_known_length_are_sent_as_they_are(parts: list[bytes]) -> None:
    """RFC 9112 6.3."""

    async def handle(request: Request) -> Response:
        async def give() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        response = Response(200, give())
        response.length = 6
        return response

    async with serving(handle) as run:
        peer = run.connect(get("/") + get("/"))
        await turns(10)
        first, second = replies(peer.received)
        assert (first.body, second.body, first.fields["content-length"]) == (b"abcdef", b"abcdef", "6")
        assert "transfer-encoding" not in first.fields
        peer = run.connect(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns()
        (head,) = replies(peer.received, head=True)
        assert (head.fields["content-length"], head.body) == ("6", b"")
        assert not peer.is_closing()


@pytest.mark.parametrize("parts", [[b"abc"], [b"abcdef", b"g"], []])
async def test_parts_of_another_length_are_broken_off(parts: list[bytes]) -> None:
    async def handle(request: Request) -> Response:
        async def give() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        response = Response(200, give())
        response.length = 6
        return response

    async with serving(handle) as run:
        peer = run.connect(get("/"))
        await turns(10)
        assert peer.is_closing()
        assert len(peer.received.partition(b"\r\n\r\n")[2]) <= 6


async def test_requests_that_need_no_waiting_are_answered_in_their_order() -> None:
    gate = Gate()

    def at_once(request: Request) -> Response | None:
        if request.path == "/bug":
            raise ZeroDivisionError
        return Response(200, request.path.encode()) if request.path.startswith("/now") else None

    def build(handler: Handler) -> Handler:
        return Application(handler, at_once=at_once)

    async with serving(gate, application=build) as run:
        peer = run.connect(get("/now/1") + get("/2") + get("/now/3") + get("/bug") + get("/now/4"))
        assert [reply.body for reply in replies(peer.received)] == [b"/now/1"]
        assert gate.entered == ["/2"]
        gate.opened.set()
        await turns(20)
        answers = replies(peer.received)
        assert [reply.status for reply in answers] == [200, 200, 200, 500, 200]
        assert [answers[index].body for index in (0, 1, 2, 4)] == [b"/now/1", b"/2", b"/now/3", b"/now/4"]
        assert run.counters.handler_failures == 1


async def test_a_header_that_cannot_be_sent_is_a_failure_at_once_as_well() -> None:
    def build(handler: Handler) -> Handler:
        return Application(handler, at_once=lambda request: Response(200, headers=[("X", "a\r\nb")]))

    async with serving(application=build) as run:
        [reply] = replies(run.connect(GET).received)
        assert reply.status == 500
