"""The server's side of a WebSocket connection (RFC 6455), without the socket: bytes to events, and back.

What clients send is nearly always one complete, masked frame without reserved bits for each message; those
become events straight away, with one slice and one pass of unmasking. All else goes the longer way of
`_read_other`. The package websockets has a Sans-I/O protocol that could take that way, but one object of it
for each connection costs more memory than all the rest of an idle one, which has to answer pings too; its
unmasking, its table of close codes and, in handshake.py, its reading of headers are what is used here.

A codec holds one unfinished frame and one unfinished message at most, each within `frame_limit_bytes`. A
frame that is larger is refused when its header is there, a message when the frame that makes it larger is.
Events are made when they are asked for: until then what was received waits as bytes.

    open      the peer's close frame         -> answered; closing and closed
              send_close                     -> closing
              the peer breaks the rules      -> close frame that says which; closing and closed
    closing   the peer's close frame         -> closed
              the peer breaks the rules      -> closed
    closed    anything                       -> discarded (RFC 6455 1.4 and 7.1.7)

    message under way    none                        one
    text, binary         event, or begins one        error
    continuation         error                       goes on, or event
    ping, pong           answered, event             answered, event
"""

import zlib
from typing import Any, Final, TypeAlias, final

from mypy_extensions import mypyc_attr
from websockets.exceptions import ProtocolError
from websockets.frames import Close, apply_mask  # type: ignore[attr-defined]  # in C where that is built

from extra.errors import LocalProtocolError

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "DEFLATE_WINDOW_BITS",
    "PING",
    "PONG",
    "TEXT",
    "TOO_BIG",
    "BytesReceived",
    "CloseReceived",
    "PongReceived",
    "TextReceived",
    "WebSocketCodec",
    "WebSocketEvent",
    "client_frame",
    "deflated_frame",
    "server_frame",
]

# Opcodes, RFC 6455 5.2
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

DEFLATE_WINDOW_BITS: Final = 12
"""The window of `deflated_frame`: who agrees upon deflate agrees to this much."""

_FIN: Final = 0x80
_RSV1: Final = 0x40
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08
_MASKED: Final = 0x80

_CONTROL_LIMIT: Final = 125

_DEFLATE_TAIL: Final = b"\x00\x00\xff\xff"
_DEFLATE_MIN_BYTES: Final = 64
"""Shorter payloads do not shrink by enough to be worth inflating."""

_PROTOCOL_ERROR: Final = 1002
_INVALID_DATA: Final = 1007

TOO_BIG: Final = 1009
"""The close code of what is larger than `frame_limit_bytes` (RFC 6455 7.4.1)."""


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Return a complete, unmasked frame: the same bytes for every client."""
    length = len(payload)
    if length < 126:
        return ((_FIN | opcode) << 8 | length).to_bytes(2, "big") + payload
    if length < 65536:
        return ((_FIN | opcode) << 24 | 126 << 16 | length).to_bytes(4, "big") + payload
    return ((_FIN | opcode) << 72 | 127 << 64 | length).to_bytes(10, "big") + payload


def deflated_frame(opcode: int, payload: bytes) -> bytes:
    """Return a complete, unmasked data frame, compressed (RFC 7692 7.2.1) unless that makes it no shorter.

    It carries no context over, so the same bytes do for every client with which deflate was agreed upon.
    """
    if len(payload) >= _DEFLATE_MIN_BYTES:
        deflater = zlib.compressobj(wbits=-DEFLATE_WINDOW_BITS, memLevel=5)
        deflated = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        deflated = deflated.removesuffix(_DEFLATE_TAIL)
        if len(deflated) < len(payload):
            return server_frame(_RSV1 | opcode, deflated)
    return server_frame(opcode, payload)


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return a complete frame as a client sends it. `mask` is 4 bytes, at random for each frame (10.3)."""
    length = len(payload)
    if length < 126:
        header = ((_FIN | opcode) << 8 | _MASKED | length).to_bytes(2, "big")
    elif length < 65536:
        header = ((_FIN | opcode) << 24 | (_MASKED | 126) << 16 | length).to_bytes(4, "big")
    else:
        header = ((_FIN | opcode) << 72 | (_MASKED | 127) << 64 | length).to_bytes(10, "big")
    return header + mask + apply_mask(payload, mask)


@final
@mypyc_attr(native_class=True)
class TextReceived:
    """A text message: UTF-8, checked."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


@final
@mypyc_attr(native_class=True)
class BytesReceived:
    """A binary message."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


@final
@mypyc_attr(native_class=True)
class PongReceived:
    """A pong: the peer is there. `payload` is that of the ping it answers."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


@final
@mypyc_attr(native_class=True)
class CloseReceived:
    """The peer's close frame, and the last event. `code` is 1005 when the frame has none (7.1.5)."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


WebSocketEvent: TypeAlias = TextReceived | BytesReceived | PongReceived | CloseReceived


@final
@mypyc_attr(native_class=True)
class WebSocketCodec:
    """One connection after its handshake, as the server has it.

    Feed it with `receive_data`, take events until there is none, then write what `data_to_send` gives.
    Never raises for what comes in: a peer that breaks the rules is sent a close frame, and `closed` is
    true.

    `closing`: a close frame was sent or received; `close_code` and `close_reason` are those of the first
    one, None and empty until then. `closed`: end the TCP connection once `data_to_send` is written.
    """

    __slots__ = (
        "_data",
        "_frame_limit_name",
        "_inflater",
        "_message",
        "_message_opcode",
        "_needed",
        "_outgoing",
        "_position",
        "_unfinished",
        "close_code",
        "close_reason",
        "closed",
        "closing",
        "deflate",
        "frame_limit_bytes",
    )

    def __init__(
        self, *, frame_limit_bytes: int, deflate: bool = False, frame_limit_name: str = "frame_limit_bytes"
    ) -> None:
        """Expect a first frame. `frame_limit_name` is what the peer is told that the limit is called."""
        self.frame_limit_bytes = frame_limit_bytes
        self._frame_limit_name = frame_limit_name
        self.closing = False
        self.closed = False
        self.close_code: int | None = None
        self.close_reason = ""
        self._data = b""
        self._position = 0  # in `_data`: what stands before has been read
        self._unfinished: bytearray | None = None  # begins with a frame of which there is not enough
        self._needed = 0  # so many bytes of it are
        self._outgoing: list[bytes] | None = None
        self._message: bytearray | None = None  # what there is of a fragmented or compressed message
        self._message_opcode = TEXT
        self.deflate = deflate
        self._inflater: Any = None  # zlib gives its class no name

    @property
    def held_bytes(self) -> int:
        """How much is kept here: what was not read, an unfinished frame, and what there is of a message."""
        size = len(self._data) - self._position
        if self._unfinished is not None:
            size += len(self._unfinished)
        if self._message is not None:
            size += len(self._message)
        return size

    @property
    def in_message(self) -> bool:
        """Whether a frame or a message has begun, and its end has not come, once there is no event left."""
        return self._unfinished is not None or self._message is not None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, cut anywhere."""
        if self.closed:
            return
        if self._unfinished is None:
            if self._position == len(self._data):
                self._data = data
                self._position = 0
                return
            self._set_aside(0)
        assert self._unfinished is not None
        self._unfinished += data

    def next_event(self) -> WebSocketEvent | None:
        """Return the next event, or None when it takes more data."""
        if self._unfinished is not None:
            if len(self._unfinished) < self._needed:
                return None
            self._data = bytes(self._unfinished)
            self._unfinished = None
        while not self.closed:
            data = self._data
            start = self._position
            if len(data) - start < 2:
                self._set_aside(2)
                return None
            first = data[start]
            length = data[start + 1] - _MASKED
            body = start + 6
            if length < 0:  # RFC 6455 5.1
                self._fail(_PROTOCOL_ERROR, "frame is not masked")
                return None
            if length >= 126:
                body = start + 8 if length == 126 else start + 14
                if len(data) < body - 4:
                    self._set_aside(body - 4 - start)
                    return None
                length = self._extended_length(first, data[start + 2 : body - 4])
                if length < 0:
                    return None
            if length > self.frame_limit_bytes:
                self._fail(TOO_BIG, f"frame larger than {self._frame_limit_name}={self.frame_limit_bytes}")
                return None
            end = body + length
            if len(data) < end:
                self._set_aside(end - start)
                return None
            self._position = end
            payload = apply_mask(data[body:end], data[body - 4 : body])
            if (first == _FIN | TEXT or first == _FIN | BINARY) and self._message is None:
                return self._received(first & _OPCODE, payload)
            event = self._read_other(first, payload)
            if event is not None:
                return event
        return None

    def send_ping(self, payload: bytes = b"") -> None:
        """Ask the peer for a pong with the same payload.

        Raises:
            LocalProtocolError: the payload is longer than 125 bytes, or the connection is closed.
        """
        if len(payload) > _CONTROL_LIMIT:  # RFC 6455 5.5
            raise LocalProtocolError(f"ping of {len(payload)} bytes, at most {_CONTROL_LIMIT}")
        if self.closed:
            raise LocalProtocolError("ping on a closed connection")
        self._send(server_frame(PING, payload))

    def send_close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; nothing if a close frame was sent or received before.

        What the peer sends before it learns of that still makes events.

        Raises:
            LocalProtocolError: the code is not one to be sent (7.4), or the reason is longer than 123 bytes.
        """
        try:
            payload = Close(code, reason).serialize()
        except ProtocolError:
            raise LocalProtocolError(f"close code {code} is not one to be sent") from None
        if len(payload) > _CONTROL_LIMIT:
            raise LocalProtocolError(
                f"close reason of {len(payload) - 2} bytes, at most {_CONTROL_LIMIT - 2}"
            )
        self._close(payload, code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 7.1.7): send a close frame, and look at nothing that comes."""
        self._fail(code, reason)

    def data_to_send(self) -> bytes:
        """Return what is to be written to the peer now, each byte once; empty when there is nothing."""
        if self._outgoing is None:
            return b""
        data = b"".join(self._outgoing)
        self._outgoing = None
        return data

    def _set_aside(self, needed: int) -> None:
        """Keep what was not read until the frame with which it begins has `needed` bytes."""
        if self._position < len(self._data):
            self._unfinished = bytearray(self._data[self._position :])
            self._needed = needed
        self._data = b""
        self._position = 0

    def _extended_length(self, first: int, length_bytes: bytes) -> int:
        """Return the length that the 2 or 8 bytes after the first two say, or fail and return -1."""
        length = int.from_bytes(length_bytes, "big")
        if first & _CONTROL:  # RFC 6455 5.5
            self._fail(_PROTOCOL_ERROR, f"control frame is longer than {_CONTROL_LIMIT} bytes")
        elif length < (126 if len(length_bytes) == 2 else 65536):  # 5.2
            self._fail(_PROTOCOL_ERROR, "frame length is not in its shortest form")
        elif length >> 63:  # 5.2
            self._fail(_PROTOCOL_ERROR, "frame length has its highest bit set")
        else:
            return length
        return -1

    def _read_other(self, first: int, payload: bytes) -> WebSocketEvent | None:
        """Read a frame that is no message by itself: control, fragment, compressed or forbidden."""
        opcode = first & _OPCODE
        compressed = first & _RESERVED == _RSV1 and self.deflate and opcode in (TEXT, BINARY)
        if first & _RESERVED and not compressed:  # RFC 6455 5.2, RFC 7692 6.1
            self._fail(_PROTOCOL_ERROR, "reserved bit is set")
        elif opcode <= BINARY:
            return self._fragment(opcode, compressed, first & _FIN != 0, payload)
        elif opcode < CLOSE or opcode > PONG:  # 5.2
            self._fail(_PROTOCOL_ERROR, f"opcode {opcode} is not known")
        elif not first & _FIN:  # 5.5
            self._fail(_PROTOCOL_ERROR, "control frame is fragmented")
        elif opcode == PONG:
            return PongReceived(payload)
        elif opcode == PING:
            self._send(server_frame(PONG, payload))
        else:
            return self._close_received(payload)
        return None

    def _fragment(self, opcode: int, compressed: bool, final: bool, payload: bytes) -> WebSocketEvent | None:
        """Add to the message under way, or begin one (RFC 6455 5.4, RFC 7692 6.2)."""
        if opcode != CONTINUATION:
            if self._message is not None:
                self._fail(_PROTOCOL_ERROR, "message begins before the last one has ended")
                return None
            self._message = bytearray()
            self._message_opcode = opcode
            self._inflater = zlib.decompressobj(wbits=-15) if compressed else None  # the largest does for any
        message = self._message
        if message is None:
            self._fail(_PROTOCOL_ERROR, "continuation of no message")
            return None
        room = self.frame_limit_bytes - len(message)
        if self._inflater is not None:
            try:
                payload = self._inflater.decompress(payload + _DEFLATE_TAIL if final else payload, room + 1)
            except zlib.error:
                self._fail(_PROTOCOL_ERROR, "compressed message cannot be inflated")
                return None
        if len(payload) > room:
            self._fail(TOO_BIG, f"message larger than {self._frame_limit_name}={self.frame_limit_bytes}")
            return None
        message += payload
        if not final:
            return None
        self._message = None
        self._inflater = None
        return self._received(self._message_opcode, bytes(message))

    def _received(self, opcode: int, payload: bytes) -> WebSocketEvent | None:
        if opcode == BINARY:
            return BytesReceived(payload)
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError as error:  # RFC 6455 8.1
                self._fail(_INVALID_DATA, f"text is not UTF-8: {error.reason} at byte {error.start}")
                return None
        return TextReceived(payload)

    def _close_received(self, payload: bytes) -> CloseReceived | None:
        try:
            close = Close.parse(payload)
        except ProtocolError as error:  # RFC 6455 5.5.1 and 7.4
            self._fail(_PROTOCOL_ERROR, f"close frame: {error}")
            return None
        except UnicodeDecodeError:
            self._fail(_INVALID_DATA, "close frame: reason is not UTF-8")
            return None
        code = int(close.code)
        self._close(payload, code, close.reason)  # 5.5.1: the answer echoes the code
        self._end()
        return CloseReceived(code, close.reason)

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 7.1.7)."""
        self._close(code.to_bytes(2, "big") + reason.encode(), code, reason)
        self._end()

    def _close(self, payload: bytes, code: int, reason: str) -> None:
        if not self.closing:
            self._send(server_frame(CLOSE, payload))
            self.closing = True
            self.close_code = code
            self.close_reason = reason

    def _end(self) -> None:
        self.closed = True
        self._data = b""
        self._position = 0
        self._unfinished = None
        self._message = None
        self._inflater = None

    def _send(self, data: bytes) -> None:
        if self._outgoing is None:
            self._outgoing = []
        self._outgoing.append(data)
