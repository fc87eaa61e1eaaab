"""One request to an application, without a server."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from extra import Request, Service, Socket, on
from extra.commands.options import OptionError
from extra.commands.requesting import body_of, head_of, print_body, request
from extra.http import Response, Stream, StreamingResponse


class Rooms(Service):
    @on(POST="/say")
    async def say(self, request: Request) -> bytes:
        return await request.body() + (request.header("x-y") or "").encode()

    @on(GET="/parts")
    async def parts(self) -> AsyncIterator[str]:
        yield "a"
        yield "b"

    @on(GET="/news")
    async def news(self, request: Request) -> object:
        return request.sse(self.told())

    async def told(self) -> AsyncIterator[str]:
        yield "one"

    @on(GET="/forever")
    async def forever(self) -> AsyncIterator[str]:
        yield "begun"
        await asyncio.Event().wait()

    @on(WEBSOCKET="/echo")
    async def echo(self, socket: Socket) -> None: ...


class Broken(Service):
    async def start(self) -> None:
        raise RuntimeError("no database")


HERE = "tests.unit.commands.test_requesting"


def test_body_and_headers_are_sent(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert request(f"{HERE}:Rooms", method="post", path="/say", body="hello ", headers=[("X-Y", "z")]) == 0
    assert capsysbinary.readouterr().out == b"hello z"


def test_parts_and_events_are_printed(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert request(f"{HERE}:Rooms", method="GET", path="/parts") == 0
    assert request(f"{HERE}:Rooms", method="GET", path="/news") == 0
    output = capsysbinary.readouterr().out
    assert output.startswith(b"ab")
    assert b"data: one" in output


def test_head_is_printed_when_asked_for(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert request(f"{HERE}:Rooms", method="GET", path="/nowhere", include=True) == 1
    assert capsysbinary.readouterr().out.startswith(b"404 Not Found\n")


def test_what_goes_on_ends_with_the_time(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert request(f"{HERE}:Rooms", method="GET", path="/forever", timeout=0.05) == 1
    printed = capsysbinary.readouterr()
    assert printed.out == b"begun"
    assert b"--timeout" in printed.err


def test_application_that_is_not_there_or_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    assert request(f"{HERE}:Nobody", method="GET", path="/") == 1
    assert request(f"{HERE}:Broken", method="GET", path="/") == 1
    assert "no database" in capfd.readouterr().err


def test_bad_values_name_their_option(tmp_path: Path) -> None:
    for name, given in (
        ("method", {"method": "G T"}),
        ("path", {"path": "a"}),
        ("body", {"body": "@/nowhere/at/all"}),
        ("header", {"headers": [("a", "b\nc")]}),
    ):
        with pytest.raises(OptionError) as caught:
            request(f"{HERE}:Rooms", **{"method": "GET", "path": "/", **given})  # type: ignore[arg-type]  # on purpose
        assert caught.value.name == name
    (tmp_path / "body").write_bytes(b"\0x")
    assert body_of(f"@{tmp_path}/body") == b"\0x"


class Taker:
    """Says two things, and ends."""

    def __init__(self) -> None:
        self.ended = 0

    def opened(self, stream: Stream) -> None:
        assert stream.writable
        assert stream.write_buffer_size() == 0
        stream.pause_reading()
        stream.resume_reading()
        stream.write(b"one ")
        stream.write(b"two")
        stream.abort()

    def writable(self) -> None: ...
    def closed(self) -> None:
        self.ended += 1


async def test_stream_is_printed_to_its_end() -> None:
    output, taker = BytesIO(), Taker()
    await print_body(StreamingResponse(taker), output)
    assert output.getvalue() == b"one two"
    assert taker.ended == 1


def test_websocket_has_no_body(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    assert request(f"{HERE}:Rooms", method="GET", path="/echo", headers=headers, include=True) == 0
    assert capsysbinary.readouterr().out == b"101 Switching Protocols\n\n"


async def test_prompt_has_a_line_of_its_own() -> None:
    class Terminal(BytesIO):
        def isatty(self) -> bool:
            return True

    output = Terminal()
    await print_body(Response(200, body=b"a"), output)
    await print_body(Response(200, body=b"b\n"), output)
    assert output.getvalue() == b"a\nb\n"
    assert head_of(Response(799)) == b"799\nContent-Length: 0\n\n"
