"""What the connections count on from a transport: of asyncio, of uvloop, and the fake one that tests use."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import cast

import pytest
import uvloop

from tests.fakes.transport import FakeTransport

MEGABYTE = b"x" * 1_000_000


class Recorder(asyncio.Protocol):
    """Writes down what a transport calls, the data apart."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.calls: list[object] = []
        self.data = b""
        self.keep_open = keep_open
        self.transport = asyncio.Transport()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=10_000)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(("lost", exc))

    async def end(self) -> None:
        """Leave nothing behind."""
        if ("lost", None) not in self.calls:
            self.transport.abort()
            await until(lambda: ("lost", None) in self.calls)


class SocketPeer:
    """The other end of a real transport, with the methods of the fake one's peer."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._stalled = False
        self._received = b""
        self._received_eof = False

    def send(self, data: bytes) -> None:
        self._end.sendall(data)

    def send_eof(self) -> None:
        self._end.shutdown(socket.SHUT_WR)

    def stall(self) -> None:
        self._stalled = True

    def take(self) -> None:
        self._stalled = False

    @property
    def received(self) -> bytes:
        self._receive()
        return self._received

    @property
    def received_eof(self) -> bool:
        self._receive()
        return self._received_eof

    def _receive(self) -> None:
        while not self._stalled and not self._received_eof:
            try:
                data = self._end.recv(65_536)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self._received += data
            self._received_eof = not data


Peer = SocketPeer | FakeTransport
Case = Callable[[Recorder, Peer], Awaitable[None]]


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something has happened."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a socket does sets no event
            await asyncio.sleep(0)


async def on_fake(case: Case) -> None:
    recorder = Recorder()
    peer = FakeTransport(recorder)
    await case(recorder, peer)
    await recorder.end()


async def on_socket(case: Case) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with theirs:
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        _, recorder = await loop.connect_accepted_socket(Recorder, ours)
        await case(recorder, SocketPeer(theirs))
        await recorder.end()


@pytest.fixture(params=["fake", "asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Case], None]:
    """Runs a case on one kind of transport."""

    def run_case(case: Case) -> None:
        make_loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        run_on: Callable[[Case], Coroutine[object, object, None]]
        run_on = on_fake if request.param == "fake" else on_socket
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(run_on(case))

    return run_case


Run = Callable[[Case], None]


def test_what_the_peer_sends_arrives(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.send(b"abc")
        await until(lambda: recorder.data == b"abc")
        assert recorder.calls == []

    run(case)


def test_what_is_written_is_received_in_order(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        for part in (b"a", b"b", b"c" * 100):
            recorder.transport.write(part)
        await until(lambda: peer.received == b"ab" + b"c" * 100)
        assert recorder.transport.get_write_buffer_size() == 0

    run(case)


def test_nothing_arrives_while_reading_is_paused_and_nothing_is_lost(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        recorder.transport.pause_reading()
        peer.send(b"abc")
        peer.send(b"def")
        for _ in range(5):
            await asyncio.sleep(0)
        assert recorder.data == b""
        recorder.transport.resume_reading()
        await until(lambda: recorder.data == b"abcdef")

    run(case)


def test_protocol_is_paused_while_the_peer_does_not_take_what_is_written(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.stall()
        recorder.transport.write(MEGABYTE)
        recorder.transport.write(MEGABYTE)
        await until(lambda: recorder.calls == ["pause"])
        assert recorder.transport.get_write_buffer_size() > 10_000
        peer.take()
        await until(lambda: len(peer.received) == 2 * len(MEGABYTE))
        await until(lambda: recorder.calls == ["pause", "resume"])
        assert recorder.transport.get_write_buffer_size() == 0

    run(case)


def test_close_sends_what_was_written_and_loses_the_connection_once(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.stall()
        recorder.transport.write(MEGABYTE)
        recorder.transport.close()
        recorder.transport.close()
        assert recorder.transport.is_closing()
        assert ("lost", None) not in recorder.calls
        peer.take()
        await until(lambda: peer.received == MEGABYTE and peer.received_eof)
        await until(lambda: ("lost", None) in recorder.calls)
        assert recorder.calls.count(("lost", None)) == 1

    run(case)


def test_connection_is_lost_in_a_later_turn(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        recorder.transport.close()
        assert recorder.calls == []
        await until(lambda: recorder.calls == [("lost", None)])

    run(case)


def test_nothing_arrives_after_close(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.stall()
        recorder.transport.write(MEGABYTE)
        recorder.transport.close()
        peer.send(b"late")
        peer.take()
        await until(lambda: peer.received == MEGABYTE and ("lost", None) in recorder.calls)
        assert recorder.data == b""

    run(case)


def test_abort_drops_what_was_written_and_works_after_close(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.stall()
        recorder.transport.write(MEGABYTE)
        recorder.transport.close()
        recorder.transport.abort()
        await until(lambda: ("lost", None) in recorder.calls)
        peer.take()
        assert len(peer.received) < len(MEGABYTE)

    run(case)


def test_writing_after_abort_does_nothing(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        recorder.transport.abort()
        recorder.transport.write(b"late")
        await until(lambda: ("lost", None) in recorder.calls)
        assert peer.received == b""

    run(case)


def test_end_of_the_peers_side_closes_unless_the_protocol_keeps_it_open(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        peer.send(b"last")
        peer.send_eof()
        await until(lambda: recorder.calls == ["eof", ("lost", None)])
        assert recorder.data == b"last"

    run(case)


def test_half_open_connection_can_still_write(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        recorder.keep_open = True
        peer.send_eof()
        await until(lambda: recorder.calls == ["eof"])
        recorder.transport.write(b"answer")
        recorder.transport.close()
        await until(lambda: peer.received == b"answer" and peer.received_eof)

    run(case)


def test_write_eof_ends_our_side_after_what_was_written_and_leaves_the_other(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        recorder.transport.write(b"last")
        recorder.transport.write_eof()
        await until(lambda: peer.received == b"last" and peer.received_eof)
        peer.send(b"abc")
        await until(lambda: recorder.data == b"abc")
        with pytest.raises(RuntimeError):
            recorder.transport.write(b"late")

    run(case)


def test_successor_receives_and_is_told_of_the_end(run: Run) -> None:
    async def case(recorder: Recorder, peer: Peer) -> None:
        successor = Recorder()
        recorder.transport.set_protocol(successor)
        assert recorder.transport.get_protocol() is successor
        peer.send(b"abc")
        await until(lambda: successor.data == b"abc")
        recorder.transport.abort()
        await until(lambda: successor.calls == [("lost", None)])
        assert (recorder.data, recorder.calls) == (b"", [])
        recorder.calls.append(("lost", None))  # nothing is left to be ended

    run(case)
