"""The end of a connection: what was written arrives, and what still comes is dropped, within bounds."""

import asyncio
from typing import cast

from extra.servers.connection import HTTPConnection
from extra.servers.linger import LINGER_LIMIT_BYTES, LingeringConnection
from tests.fakes.transport import FakeTransport
from tests.unit.servers.serving import Serving, serving, turns


class WithoutEof(FakeTransport):
    """Cannot end one side alone, as TLS cannot."""

    def can_write_eof(self) -> bool:
        return False


def linger(run: Serving, peer: FakeTransport, timeout_s: float = 3.0) -> None:
    connection = peer.get_protocol()
    assert isinstance(connection, HTTPConnection)
    connection.write(b"last")
    connection._leave()
    connection._hand_over(LingeringConnection(run.context, timeout_s))


async def test_our_side_ends_after_what_was_written_and_the_connection_with_theirs() -> None:
    async with serving() as run:
        peer = run.connect()
        linger(run, peer)
        assert (peer.received, peer.received_eof) == (b"last", True)
        peer.send(b"still sending")
        await turns()
        assert not peer.lost
        peer.send_eof()
        await turns()
        assert peer.lost
        assert run.counters.bytes_received == len(b"still sending")


async def test_peer_that_does_not_end_is_not_waited_for_long() -> None:
    async with serving() as run:
        peer = run.connect()
        linger(run, peer)
        run.wait(2)
        await turns()
        assert not peer.lost
        run.wait(1)
        await turns()
        assert peer.lost


async def test_peer_that_does_not_stop_sending_is_cut_off() -> None:
    async with serving() as run:
        peer = run.connect()
        linger(run, peer)
        megabyte = b"x" * 1024 * 1024
        for _ in range(LINGER_LIMIT_BYTES // len(megabyte)):
            peer.send(megabyte)
        await turns()
        assert not peer.lost
        peer.send(b"x")
        await turns()
        assert peer.lost


async def test_peer_that_is_slow_to_take_the_last_is_waited_for() -> None:
    async with serving() as run:
        peer = run.connect()
        peer.stall()
        linger(run, peer)
        for _ in range(3):
            run.wait(4)
            peer.take(1)
        await turns()
        assert not peer.lost
        peer.take()
        run.wait(4)
        await turns()
        assert peer.lost
        assert peer.received == b"last"


async def test_transport_that_cannot_end_one_side_is_closed() -> None:
    async with serving() as run:
        peer = WithoutEof(cast(asyncio.Protocol, HTTPConnection(run.context)))
        linger(run, peer)
        await turns()
        assert (peer.received, peer.lost) == (b"last", True)


async def test_retiring_changes_nothing() -> None:
    async with serving() as run:
        peer = run.connect()
        linger(run, peer)
        for connection in run.context.connections:
            connection.retire()
        await turns()
        assert not peer.lost
