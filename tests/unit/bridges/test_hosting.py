"""Our server on sockets that others have made."""

import asyncio
import socket
import subprocess
import sys

import httpx
import pytest

from extra import server
from extra.bridges import hosting
from tests.e2e.daemon import environment
from tests.unit.bridges.material import Kit


async def test_listening_socket_is_served() -> None:
    kit = Kit()
    listening = socket.create_server(("127.0.0.1", 0))
    async with hosting(server(kit)) as host:
        address = await host.listen(listening)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{address[1]}/hello/ann")
            assert answer.json()["name"] == "ann"
    assert kit.events == ["start", "stop"]


async def test_server_of_asyncio_is_served() -> None:
    async with hosting(server(Kit())) as host:
        listener = await asyncio.get_running_loop().create_server(host.protocol, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/stream")).text == "0\n1\n2\n"
        listener.close()


async def test_one_connection_is_served_until_it_ends() -> None:
    ours, theirs = socket.socketpair()
    async with hosting(server(Kit())) as host:
        reader, writer = await asyncio.open_connection(sock=theirs)
        serving = asyncio.create_task(host.serve_connection(ours))
        for _ in range(2):
            writer.write(b"GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        assert not serving.done()
        writer.close()
        await serving
        await writer.wait_closed()


INETD = """
from extra import server
from extra.bridges import serve_connection
from tests.unit.bridges.material import Kit
serve_connection(server(Kit()))
"""


@pytest.mark.slow
def test_process_behind_inetd_serves_its_standard_input() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen([sys.executable, "-c", INETD], stdin=theirs.fileno(), env=environment())
        ours.sendall(b"GET /hello/ann HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        theirs.close()
        with ours.makefile("rb") as answer:
            assert b'"name":"ann"' in answer.read()
        assert process.wait(20) == 0
