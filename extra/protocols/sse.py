"""Server-Sent Events, both ways: events to bytes, and bytes to events as the WHATWG text says.

Clauses are those of the HTML standard, section 9.2: 9.2.5 is the grammar, 9.2.6 how a stream is read.
"""

import re
from collections import deque
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["Event", "EventParser", "comment", "event"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_DIGITS_LIMIT: Final = 15
"""A reconnection time of more digits is thousands of years: such a field is left out of account."""

_line_breaks: Final = re.compile(rb"\r\n|\r|\n").split


def event(
    data: bytes | None, *, id: str | None = None, event: str | None = None, retry_ms: int | None = None
) -> bytes:
    """Return one event. `data` is UTF-8 text of any number of lines; None leaves the field out.

    Without data, a reader takes note of `id` and `retry_ms` and dispatches nothing.

    Raises:
        LocalProtocolError: `id` or `event` holds a line break, or NUL, with which readers ignore an `id`.
    """
    block = b""
    if retry_ms is not None:
        block = b"retry: " + str(retry_ms).encode() + b"\n"
    if event is not None:
        block += b"event: " + _field("event", event) + b"\n"
    if id is not None:
        block += b"id: " + _field("id", id) + b"\n"
    if data is None:
        return block + b"\n"
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_line_breaks(data))
    return block + b"data: " + data + b"\n\n"


def comment(text: str = "") -> bytes:
    """Return a comment, which readers skip: a heartbeat. A line break in `text` begins another one."""
    return b": " + b"\n: ".join(_line_breaks(text.encode())) + b"\n\n"


@final
@mypyc_attr(native_class=True)
class Event:
    """One dispatched event. `id` is the last event ID of the stream as it was then: it stays until the next
    `id:`.

    `event` is "message" when the stream names none. `retry_ms` is None unless this event's block set it.
    """

    __slots__ = ("data", "event", "id", "retry_ms")

    def __init__(self, data: str, id: str, event: str, retry_ms: int | None) -> None:
        self.data = data
        self.id = id
        self.event = event
        self.retry_ms = retry_ms

    def __repr__(self) -> str:
        return f"<Event {self.event!r} id={self.id!r} of {len(self.data)} characters>"


@final
@mypyc_attr(native_class=True)
class EventParser:
    """Reads an event stream: feed it with `receive_data`, then take events until there is none.

    `last_event_id` and `retry_ms` (None until the stream sets it) also hold what came in blocks without
    data, which dispatch no event. `limit_bytes` bounds one line, and the data of one event.
    """

    __slots__ = (
        "_at_start",
        "_data",
        "_data_bytes",
        "_event",
        "_events",
        "_id",
        "_limit_bytes",
        "_retry_ms",
        "_skip_line_feed",
        "_unfinished",
        "last_event_id",
        "retry_ms",
    )

    def __init__(self, limit_bytes: int = 16 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._events: deque[Event] = deque()
        self._unfinished = bytearray()
        self._at_start = True
        self._skip_line_feed = False
        self._data: list[str] = []
        self._data_bytes = 0
        self._event = ""
        self._id = ""
        self._retry_ms: int | None = None
        self.last_event_id = ""
        self.retry_ms: int | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream, cut anywhere.

        Raises:
            RemoteProtocolError: a line or an event is larger than the limit. The parser is of no use then.
        """
        if self._skip_line_feed and data:
            # 9.2.5: CRLF is one line break, even where the network cuts it in two.
            self._skip_line_feed = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\n" not in data and b"\r" not in data:
            self._unfinished += data
            self._check(len(self._unfinished))
            return
        lines = (bytes(self._unfinished) + data).splitlines(keepends=True)
        self._unfinished = bytearray()
        if not lines[-1].endswith((b"\n", b"\r")):
            self._unfinished += lines.pop()
            self._check(len(self._unfinished))
        elif lines[-1].endswith(b"\r"):
            self._skip_line_feed = True
        for ended_line in lines:
            line = ended_line.rstrip(b"\r\n")
            self._check(len(line))
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BYTE_ORDER_MARK)
            self._read_line(line)

    def next_event(self) -> Event | None:
        """Return the next event, or None when it takes more data."""
        return self._events.popleft() if self._events else None

    def _read_line(self, line: bytes) -> None:
        """Process one line without its end (9.2.6)."""
        if not line:
            self._dispatch()
            return
        name, _, rest = line.partition(b":")
        value = rest.removeprefix(b" ").decode(errors="replace")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(rest) + 1
            self._check(self._data_bytes)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if "\0" not in value:
                self._id = value
        elif name == b"retry" and value.isascii() and value.isdigit() and len(value) <= _DIGITS_LIMIT:
            self._retry_ms = self.retry_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            data = "\n".join(self._data)
            self._events.append(Event(data, self._id, self._event or "message", self._retry_ms))
            self._data = []
            self._data_bytes = 0
        self._event = ""
        self._retry_ms = None

    def _check(self, size: int) -> None:
        if size > self._limit_bytes:
            raise RemoteProtocolError(
                f"event stream: a line or event of more than {self._limit_bytes:,} bytes"
            )


def _field(name: str, value: str) -> bytes:
    if not value.isprintable() and ("\n" in value or "\r" in value or "\0" in value):
        raise LocalProtocolError(f"{name} of an event holds a line break or NUL")
    return value.encode()
