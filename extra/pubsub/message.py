"""Messages, what is told of them, and the wire forms that are made of them once and shared.

A message is written once and read by thousands, so it keeps the bytes of each wire form that it was asked
for: fanning out to ten thousand subscribers encodes once. A `FrameCache` bounds what is kept that way; a
frame that has been let go is made again when somebody is late enough to need it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, InvalidPayload, LimitExceeded
from extra.payloads import JSONValue, PayloadKind, classify, content_type_flaw, headers_flaw
from extra.pubsub.position import format_cursor

__all__ = ["FORMS_LIMIT", "FrameCache", "Gap", "Message", "Receipt", "WireForm", "compose"]

FORMS_LIMIT: Final = 10
"""How many wire forms one broker can have: the length of a message's list of frames."""

MESSAGE_OVERHEAD_BYTES: Final = 400
"""What a message costs beside its texts: measured with tracemalloc over 100,000 of them in a log, 2026-11."""
HEADER_OVERHEAD_BYTES: Final = 160
FRAMES_OVERHEAD_BYTES: Final = 130
"""What a header costs beside its texts, and the frames of a message beside their bytes: measured likewise."""


@final
@mypyc_attr(native_class=True)
class Message:
    """A topic, a payload and its properties; never changed once it has its place in the log.

    `size` is what it is counted as, in bytes, by everything that is bounded. `time` and `expires_at` are Unix
    seconds, `appended_at` monotonic ones; `expires_at` 0.0 means never. Before `place`, `offset` is 0.
    `close` True says that the message is the last of its topic, False that it opens the topic anew if that
    was closed. `deliveries` is how often a group has handed it out, this time included, and 1 outside of
    groups.
    """

    __slots__ = (
        "appended_at",
        "close",
        "content_type",
        "deliveries",
        "epoch",
        "expires_at",
        "frame_bytes",
        "frames",
        "headers",
        "kind",
        "offset",
        "payload",
        "retained",
        "size",
        "time",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        kind: PayloadKind = "binary",
        *,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        expires_at: float = 0.0,
        retained: bool = False,
        close: bool | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.kind: PayloadKind = kind
        self.content_type = content_type
        self.headers = headers
        self.expires_at = expires_at
        self.retained = retained
        self.close = close
        self.deliveries = 1
        self.offset = 0
        self.epoch = ""
        self.time = 0.0
        self.appended_at = 0.0
        self.frames: list[bytes | None] | None = None
        self.frame_bytes = 0
        size = len(payload) + len(topic) + MESSAGE_OVERHEAD_BYTES
        if content_type is not None:
            size += len(content_type)
        if headers is not None:
            for name, value in headers.items():
                size += len(name) + len(value) + HEADER_OVERHEAD_BYTES
        self.size = size

    def place(self, epoch: str, offset: int, now: float, time: float) -> None:
        """Give the message its place in the log. The engine does this, once."""
        assert self.offset == 0, "a message has one place"
        self.epoch = epoch
        self.offset = offset
        self.appended_at = now
        self.time = time

    def delivered_again(self, deliveries: int) -> Message:
        """Return a copy that says how often it has been handed out. Only `frames` are not copied."""
        again = Message(
            self.topic,
            self.payload,
            self.kind,
            content_type=self.content_type,
            headers=self.headers,
            expires_at=self.expires_at,
            retained=self.retained,
            close=self.close,
        )
        again.place(self.epoch, self.offset, self.appended_at, self.time)
        again.deliveries = deliveries
        return again

    def rewritten(
        self, data: object, *, content_type: str | None = None, headers: dict[str, str] | None = None
    ) -> Message:
        """Return a message of another value to be published in place of this one. Raises as `compose` does.

        It has the headers of this one, unless others are given, and else all that is not of the value.
        """
        return compose(
            self.topic,
            data,
            retain=self.retained,
            expires_at=self.expires_at,
            content_type=content_type,
            headers=self.headers if headers is None else headers,
            close=self.close,
        )

    @property
    def cursor(self) -> str:
        """The cursor from which to resume after this message."""
        return format_cursor(self.epoch, self.offset)

    @property
    def data(self) -> JSONValue | bytes:
        """The payload decoded: a JSON value, a string or bytes. Decoded anew at each call."""
        if self.kind == "json":
            value: JSONValue = json.loads(self.payload)
            return value
        if self.kind == "text":
            return self.payload.decode()
        return self.payload

    def is_expired(self, time: float) -> bool:
        """Return whether its time to live is over at `time` (Unix seconds)."""
        return self.expires_at != 0.0 and self.expires_at <= time

    def frame(self, form: WireForm) -> bytes:
        """Return the bytes of this message in a wire form, made at the first call and shared afterwards."""
        frames = self.frames
        if frames is not None:
            frame = frames[form.index]
            if frame is not None:
                return frame
        return form.cache.make(self, form)

    def __repr__(self) -> str:
        return f"<Message {self.topic!r} offset={self.offset} {self.kind} of {len(self.payload)} bytes>"


@final
@mypyc_attr(native_class=True)
@dataclass
class Gap:
    """Messages that a subscriber will not get: offsets above `after` and up to `until`, but what is given.

    `reason` is "evicted" (retention), "overflow" (it did not keep up; `dropped` counts them) or "epoch" (the
    log has begun anew: then `after` is None). `filter` is None when it concerns all that it subscribes to.
    `cursor` is where who has been told goes on from, without being told again; empty when it stays where it
    is.
    """

    after: int | None
    until: int
    reason: str
    dropped: int = 0
    filter: str | None = None
    cursor: str = field(default="", compare=False)


@final
@mypyc_attr(native_class=True)
@dataclass
class Receipt:
    """What a publisher gets: the message's place, and how many local subscribers it was handed to.

    Of a message that is to be published later there is no place: `offset` is 0, `cursor` empty, `scheduled`
    its id, and `deliver_at` when that will be, in Unix seconds.
    """

    topic: str
    offset: int
    cursor: str
    subscribers: int
    scheduled: str = ""
    deliver_at: float = 0.0


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class WireForm(ABC):
    """One way to write a message and a gap as bytes: the seam between the core and an endpoint's codec.

    `index` tells the forms of one broker apart: 0 to `FORMS_LIMIT` - 1. All forms of a broker share its
    cache.
    """

    def __init__(self, index: int, cache: FrameCache) -> None:
        assert 0 <= index < FORMS_LIMIT
        self.index = index
        self.cache = cache

    @abstractmethod
    def encode(self, message: Message) -> bytes:
        """Return the message in this form. Nothing in it may depend on who receives it."""

    @abstractmethod
    def encode_gap(self, gap: Gap) -> bytes:
        """Return the notice of a gap in this form; empty when the form has none."""


@final
@mypyc_attr(native_class=True)
class FrameCache:
    """Bounds the frames that messages keep, for all forms of a broker.

    Past `limit_bytes` the message that got its first frame longest ago loses all of its frames. `bytes` is
    the sum of those that are kept, `encoded` how many were ever made.
    """

    __slots__ = ("bytes", "encoded", "limit_bytes", "messages")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.encoded = 0
        self.messages: deque[Message] = deque()

    def make(self, message: Message, form: WireForm) -> bytes:
        """Encode, keep and return the frame of a message."""
        frame = form.encode(message)
        self.encoded += 1
        frames = message.frames
        if frames is None:
            frames = [None] * FORMS_LIMIT
            message.frames = frames
            message.frame_bytes = FRAMES_OVERHEAD_BYTES
            self.bytes += FRAMES_OVERHEAD_BYTES
            self.messages.append(message)
        frames[form.index] = frame
        message.frame_bytes += len(frame)
        self.bytes += len(frame)
        while self.bytes > self.limit_bytes:
            oldest: Message = self.messages.popleft()
            oldest.frames = None
            self.bytes -= oldest.frame_bytes
            oldest.frame_bytes = 0
        return frame


def compose(
    topic: str,
    data: object,
    *,
    retain: bool = False,
    expires_at: float = 0.0,
    content_type: str | None = None,
    headers: dict[str, str] | None = None,
    close: bool | None = None,
) -> Message:
    """Make a message of a value: bytes stay bytes, a string is text, anything else is written as JSON.

    A `content_type` decides the kind instead: then bytes are taken as that kind and checked, a string becomes
    JSON when the content type says so, and anything else has to.

    Raises:
        InvalidPayload: the value cannot be written as JSON, or is not what the content type says.
        InvalidCommand: the content type is none. LimitExceeded: the headers are too many or too long.
    """
    if content_type is not None and (flaw := content_type_flaw(content_type)):
        raise InvalidCommand(flaw)
    if headers is not None and (flaw := headers_flaw(headers)):
        raise LimitExceeded(flaw)
    kind: PayloadKind
    if isinstance(data, bytes):
        payload: bytes = data
        kind = classify(content_type) if content_type is not None else "binary"
        if kind != "binary":
            _check_payload(payload, kind)
    elif isinstance(data, str) and (content_type is None or classify(content_type) != "json"):
        kind = "text" if content_type is None else classify(content_type)
        try:
            payload = data.encode()
        except UnicodeEncodeError as error:
            raise InvalidPayload(f"text cannot be written as UTF-8: {error.reason}") from None
    else:
        kind = "json"
        if content_type is not None and classify(content_type) != "json":
            raise InvalidPayload(
                f"data has to be bytes or a string where content_type is {content_type[:80]!r}"
            )
        try:
            payload = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPayload(f"data cannot be written as JSON: {error}") from None
    return Message(
        topic,
        payload,
        kind,
        content_type=content_type,
        headers=headers,
        expires_at=expires_at,
        retained=retain,
        close=close,
    )


def _check_payload(payload: bytes, kind: PayloadKind) -> None:
    try:
        text = payload.decode()
        if kind == "json":
            json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"{kind} payload is not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"payload is not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
