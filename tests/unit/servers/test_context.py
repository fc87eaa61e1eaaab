"""What the connections of a server share."""

import logging
from time import perf_counter

import pytest

from extra.errors import InvalidTopic, LocalProtocolError
from extra.http import Request
from extra.servers import Server
from extra.servers.counters import Counters
from extra.servers.limits import ServerLimits
from tests.unit.servers.serving import hello, serving


async def test_date_is_renewed() -> None:
    """RFC 9110 5.6.7 and 6.6.1."""
    async with serving() as run:
        run.context.renew_date(784111777.0)
        assert run.context.common_lines == "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: extra\r\n"
        run.context.renew_date()
        assert "1994" not in run.context.common_lines


async def test_usual_head_is_of_this_response_and_this_second() -> None:
    async with serving() as run:
        context = run.context
        context.renew_date(0.0)
        heads = [
            context.usual_head(*response)
            for response in (
                (200, "a/b", 1),
                (200, "a/b", 1),
                (201, "a/b", 1),
                (201, "a/c", 1),
                (201, None, 1),
                (201, None, 2),
            )
        ]
        common = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: extra\r\n\r\n"
        assert heads == [
            start + common
            for start in (
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1\r\n",
                b"HTTP/1.1 201 Created\r\nContent-Type: a/b\r\nContent-Length: 1\r\n",
                b"HTTP/1.1 201 Created\r\nContent-Type: a/c\r\nContent-Length: 1\r\n",
                b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n",
                b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n",
            )
        ]
        context.renew_date(1.0)
        assert b"00:00:01" in context.usual_head(201, None, 2)
        for content_type in ("a/b\r\nc: d", "a/\u2028"):
            with pytest.raises(LocalProtocolError):
                context.usual_head(201, content_type, 2)
        with pytest.raises(LocalProtocolError):
            context.usual_head(299, None, 2)
        assert context.usual_head(201, None, 2).startswith(b"HTTP/1.1 201 Created\r\nContent-Length: 2")


async def test_error_of_ours_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as run:
        assert run.context.failure(InvalidTopic("no topic"), Request("GET", b"/a")).status == 400
        assert run.counters.handler_failures == 0
    assert caplog.records == []


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), LocalProtocolError("bad header")])
async def test_bug_is_logged_and_counted(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as run:
        assert run.context.failure(error, Request("GET", b"/a?b")).status == 500
        assert run.counters.handler_failures == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("extra.servers", logging.ERROR)
    assert record.getMessage() == "GET /a: a handler has failed"


def test_counters_start_from_nothing() -> None:
    counters = Counters()
    names = [name for name in dir(counters) if not name.startswith("_")]
    assert len(names) == 14
    assert all(getattr(counters, name) in (0, {}) for name in names)


def test_limits_are_those_of_the_documentation() -> None:
    limits = ServerLimits()
    assert (limits.head_limit_bytes, limits.headers_limit, limits.pipeline_limit) == (32_768, 100, 16)
    assert (limits.head_timeout_s, limits.body_timeout_s, limits.idle_timeout_s) == (10, 30, 75)
    assert (limits.ping_interval_s, limits.ping_timeout_s, limits.close_timeout_s) == (25, 20, 2)
    assert (limits.write_timeout_s, limits.write_high_water_bytes) == (30, 65_536)
    assert limits.receive_limit_bytes == 268_435_456


async def test_some_header_fields_are_in_every_response() -> None:
    async with Server(hello, headers=(("X-Content-Type-Options", "nosniff"),)) as server:
        server.context.renew_date(0.0)
        assert server.context.common_lines == (
            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: extra\r\nX-Content-Type-Options: nosniff\r\n"
        )


async def test_answers_are_timed_by_a_clock_that_goes_on_within_a_turn() -> None:
    async with Server(hello) as server:
        assert server.context.stopwatch is perf_counter


async def test_date_and_server_can_be_left_out() -> None:
    async with Server(hello, server_name="", dated=False, headers=[("X-Y", "z")]) as server:
        assert server.context.common_lines == "X-Y: z\r\n"
