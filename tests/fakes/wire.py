"""What an endpoint writes to, without a connection: the test is the peer, and looks at what was written."""

from extra.http import Stream, WebSocket

__all__ = ["FakeStream", "FakeWebSocket"]


class FakeWire:
    """What the two have in common. `writable` is the test's to change; the taker has to be told by it."""

    def __init__(self) -> None:
        self.writable = True
        self.written: list[bytes] = []
        self.is_reading = True
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def abort(self) -> None:
        self.is_aborted = True

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self.written)
        self.written.clear()
        return data


class FakeStream(FakeWire, Stream):
    """The body of a response that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeWebSocket(FakeWire, WebSocket):
    """An open WebSocket. `close_code` is None until it is closed from this side."""

    def __init__(self, *, deflate: bool = False) -> None:
        super().__init__()
        self.subprotocol = None
        self.deflate = deflate
        self.close_code: int | None = None
        self.close_reason = ""

    def send_text(self, data: bytes) -> None:
        raise AssertionError("endpoints write frames that are shared")

    def send_binary(self, data: bytes) -> None:
        raise AssertionError("endpoints write frames that are shared")

    def ping(self, payload: bytes = b"") -> None:
        raise AssertionError("pings are the connection's own")

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.close_code = code
        self.close_reason = reason
