"""Bodies in parts, one after another."""

from collections.abc import AsyncIterator

import pytest

from extra.http import Request, Response
from tests.unit.servers.serving import replies, serving, turns


async def give(path: str) -> AsyncIterator[bytes]:
    yield b"a"
    if path == "/fail":
        raise ZeroDivisionError
    yield b"b"


async def test_failure_of_one_body_is_none_of_the_next() -> None:
    """Compiled coroutines of mypyc have kept such an exception, and raised it at the end of the next body."""

    async def handle(request: Request) -> Response:
        return Response(200, give(request.path))

    async with serving(handle) as run:
        for path in ("/", "/fail", "/", "/fail", "/"):
            peer = run.connect(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await turns()
            assert peer.is_closing() == (path == "/fail")
            if path == "/":
                assert [reply.body for reply in replies(peer.received)] == [b"ab"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_parts_are_closed_when_the_peer_leaves(version: str) -> None:
    seen: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 70_000
        finally:
            seen.append("closed")

    async def handle(request: Request) -> Response:
        return Response(200, endless())

    async with serving(handle) as run:
        peer = run.connect()
        peer.stall()
        peer.send(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        await turns()
        peer.reset()
        await turns()
        assert seen == ["closed"]
