"""Connections that begin with a handshake of TLS."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from extra.http import Request, Response, StreamingResponse
from extra.servers import Server


class Told:
    """A stream that says one thing, and goes on."""

    def opened(self, stream: object) -> None:
        stream.write(b"told")  # type: ignore[attr-defined]  # it is a Stream

    def writable(self) -> None: ...
    def closed(self) -> None: ...


async def serve(request: Request) -> Response:
    if request.raw_path == "/stream":
        return StreamingResponse(Told())
    return Response(200, body=await request.body())


@pytest.mark.parametrize("uds", [False, True])
async def test_requests_large_bodies_and_streams(tmp_path: Path, uds: bool) -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    async with Server(serve) as server:
        path = str(tmp_path / "s")
        (address,) = await server.listen(uds=path if uds else None, tls=theirs)

        async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            if isinstance(address, str):
                return await asyncio.open_unix_connection(address, ssl=ours, server_hostname="localhost")
            return await asyncio.open_connection(*address, ssl=ours, server_hostname="localhost")

        reader, writer = await opened()
        body = b"x" * 1_000_000
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(body)) == body
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        reader, writer = await opened()
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"told")
        writer.close()
        await server.drained()


async def test_who_speaks_no_tls_is_let_go(tmp_path: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(theirs)
    async with Server(serve) as server:
        (address,) = await server.listen(tls=theirs)
        assert not isinstance(address, str)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        assert not server.context.connections
