"""Responses that go on: the seam between what writes a stream of its own and the connection under it.

A handler that answers with a `StreamingResponse` or a `WebSocketResponse` hands over a *taker*. The
connection sends the head, gives the taker something to write to (a `Wire`), and calls it from then on.
Nothing here is a coroutine: a subscriber costs no task, and a fan-out is one `write` for each.

What a connection promises to a taker:

- `opened` is called at most once, and before anything else. It is not when the client is gone by then,
  asked with HEAD, or sent no proper handshake.
- `closed` is called exactly once, after everything else: also for a taker that was never opened. By then the
  wire leads nowhere.
- All calls are made from the event loop's thread, one after another, though not necessarily from the same
  task: a call of `close` or `abort` on the wire may end in a call of `closed` before it returns.

These are protocols, not abstract classes: compiled classes have one base, and a taker, for one, is a consumer
of a session as well.
"""

from abc import abstractmethod
from typing import Protocol

__all__ = ["Stream", "StreamTaker", "WebSocket", "WebSocketTaker", "Wire"]


class Wire(Protocol):
    """What a taker writes to. Nothing blocks or raises; what cannot be sent at once is buffered."""

    __slots__ = ()

    writable: bool
    """False from when the transport has more buffered than `write_high_water_bytes` until it has caught up.

    `write` works nevertheless. The taker's `writable` is called when it is True again.
    """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data`. What is written in one turn of the event loop goes out together with uvloop."""

    @abstractmethod
    def write_buffer_size(self) -> int:
        """Return how many bytes have been written that the operating system has not taken yet."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Receive nothing more from the peer until `resume_reading`."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Receive again."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection now, and drop what has not been sent."""


class Stream(Wire, Protocol):
    """The body of a response after its head. What the peer still sends is not looked at."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """End the body, when everything written has been sent. There is nothing to be written after it."""


class WebSocket(Wire, Protocol):
    """An open WebSocket. `write` takes whole frames, as made by `extra.protocols.websocket.server_frame`."""

    __slots__ = ()

    subprotocol: str | None
    """What the handshake has settled on, of what the response offered."""

    deflate: bool
    """Whether compressed frames may be written (`extra.protocols.websocket.deflated_frame`)."""

    @abstractmethod
    def send_text(self, data: bytes) -> None:
        """Send one text message: `data` is UTF-8."""

    @abstractmethod
    def send_binary(self, data: bytes) -> None:
        """Send one binary message."""

    @abstractmethod
    def ping(self, payload: bytes = b"") -> None:
        """Send a ping, of at most 125 bytes. Pings that find out who is gone are sent by themselves."""

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, after everything written. The taker hears `closed` before this returns.

        The peer is given `close_timeout_s` to answer, then the connection is aborted.
        """


class StreamTaker(Protocol):
    """Who writes a stream; see the module's docstring for when it is called."""

    __slots__ = ()

    @abstractmethod
    def opened(self, stream: Stream) -> None:
        """The head has been sent. What is written here goes out with it."""

    @abstractmethod
    def writable(self) -> None:
        """`stream.writable` is True again."""

    @abstractmethod
    def closed(self) -> None:
        """The stream has ended, whoever wanted it."""


class WebSocketTaker(Protocol):
    """Who speaks on a WebSocket; see the module's docstring for when it is called."""

    __slots__ = ()

    @abstractmethod
    def opened(self, socket: WebSocket) -> None:
        """The handshake is done. What is written here goes out with it."""

    @abstractmethod
    def received_text(self, data: bytes) -> None:
        """A whole text message: `data` has been checked to be UTF-8."""

    @abstractmethod
    def received_binary(self, data: bytes) -> None:
        """A whole binary message."""

    @abstractmethod
    def writable(self) -> None:
        """`socket.writable` is True again."""

    @abstractmethod
    def closed(self, code: int, reason: str) -> None:
        """The WebSocket has ended.

        `code` is that of the first close frame, the peer's (1005 when it had none) or ours; 1006 when the
        connection was lost without one.
        """
