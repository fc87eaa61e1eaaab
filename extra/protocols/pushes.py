"""Pushes: what the broker sends on a WebSocket, and how a client reads it.

A `message` is written by envelope.py, once for all subscribers; here is the reading of it. The other pushes
go to one connection each and are plain structures. A client skips a push that it does not know and fields
that it does not know, so that it can talk to a newer broker.
"""

from binascii import a2b_base64
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from extra.errors import InvalidPayload, RemoteProtocolError
from extra.payloads import PayloadKind, classify
from extra.protocols.payloads import check_payload

__all__ = [
    "Acknowledged",
    "EndPush",
    "ErrorPush",
    "GapPush",
    "Goodbye",
    "MessagePush",
    "Pong",
    "Published",
    "Push",
    "ScheduledPush",
    "Subscribed",
    "Unsubscribed",
    "Welcome",
    "decode_pushes_json",
    "decode_pushes_msgpack",
]

_ABSENT: Final = Raw()


class Welcome(Struct, tag="welcome", tag_field="op", kw_only=True):
    """The first push. `cursor` is where the log ends now, `version` the broker's."""

    session: str
    epoch: str
    cursor: str
    version: str


class Subscribed(Struct, tag="subscribed", tag_field="op", kw_only=True, omit_defaults=True):
    """The replay is done; `complete` says whether it lacked nothing.

    `filter` is what was subscribed to, where that is not what was asked for.
    """

    id: str | int | None = None
    cursor: str
    replayed: int
    complete: bool
    filter: list[str] | None = None


class Unsubscribed(Struct, tag="unsubscribed", tag_field="op", kw_only=True, omit_defaults=True):
    """Nothing more comes for those filters."""

    id: str | int | None = None


class Published(Struct, tag="published", tag_field="op", kw_only=True):
    """The receipt of a `publish` that had an id."""

    id: str | int
    topic: str
    offset: int
    cursor: str
    subscribers: int


class ScheduledPush(Struct, tag="scheduled", tag_field="op", kw_only=True):
    """The answer to a `publish` that had an id and is for later: its id there is `scheduled`."""

    id: str | int
    topic: str
    scheduled: str
    deliver_at: float


class Acknowledged(Struct, tag="acknowledged", tag_field="op", kw_only=True):
    """The answer to an `ack` or `nack` that had an id: where the reader stands, or its group."""

    id: str | int
    cursor: str


class Pong(Struct, tag="pong", tag_field="op", kw_only=True, omit_defaults=True):
    """The answer to `ping`."""

    id: str | int | None = None


class GapPush(Struct, tag="gap", tag_field="op", kw_only=True, omit_defaults=True):
    """Messages above `after` and up to `until` are missing. `after` is None when the log has begun anew.

    `group` is there when it is a group that they are missing for.
    """

    filter: str | None = None
    after: int | None
    until: int
    reason: str
    dropped: int = 0
    group: str | None = None


class EndPush(Struct, tag="end", tag_field="op", kw_only=True):
    """The topic has had its last message, at `offset`."""

    topic: str
    offset: int
    cursor: str


class ErrorPush(Struct, tag="error", tag_field="op", kw_only=True, omit_defaults=True):
    """Takes the place of an answer, or says what was wrong with a frame.

    `offset` and `cursor` are those of the topic's last message, where that is not the one that it was to be;
    `offsets` those of a group's messages that this member does not hold.
    """

    id: str | int | None = None
    code: str
    message: str
    temporary: bool
    offset: int | None = None
    cursor: str | None = None
    offsets: list[int] | None = None


class Goodbye(Struct, tag="goodbye", tag_field="op", kw_only=True):
    """The last push: resume from `cursor`, not before `reconnect_after` seconds."""

    cursor: str
    reconnect_after: float
    reason: str


class MessagePush(Struct, kw_only=True):
    """A message. The payload is JSON, text or bytes as `kind` says; a string without a content type is text.

    `content_type` is None when it is the usual one of the kind, `expires_at` when the message does not
    expire, `group` when it comes to everybody. `deliveries` counts to how many members it has been handed.
    """

    topic: str
    offset: int
    payload: bytes
    kind: PayloadKind
    content_type: str | None = None
    headers: dict[str, str] | None = None
    expires_at: float | None = None
    retained: bool = False
    group: str | None = None
    deliveries: int = 1


Push: TypeAlias = (
    Welcome
    | Subscribed
    | Unsubscribed
    | Published
    | ScheduledPush
    | Acknowledged
    | Pong
    | GapPush
    | EndPush
    | ErrorPush
    | Goodbye
    | MessagePush
)


def decode_pushes_json(frame: bytes) -> list[Push]:
    """Return the pushes of a text frame, in order, without those that are not known.

    Raises:
        RemoteProtocolError: the frame is not JSON, or a push is not what its `op` says.
    """
    return _decode(_JSON, frame)


def decode_pushes_msgpack(frame: bytes) -> list[Push]:
    """Return the pushes of a binary frame, as `decode_pushes_json` does."""
    return _decode(_MSGPACK, frame)


class _Message(Struct, tag="message", tag_field="op"):
    """`message` as it stands in a frame."""

    topic: str
    offset: int
    data: Raw = _ABSENT
    data_base64: str | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    expires_at: float | None = None
    retained: bool = False
    group: str | None = None
    deliveries: int = 1


_Wire: TypeAlias = (
    _Message
    | Welcome
    | Subscribed
    | Unsubscribed
    | Published
    | ScheduledPush
    | Acknowledged
    | Pong
    | GapPush
    | EndPush
    | ErrorPush
    | Goodbye
)

_OPS: Final = (
    "message",
    "welcome",
    "subscribed",
    "unsubscribed",
    "published",
    "scheduled",
    "acknowledged",
    "pong",
    "gap",
    "end",
    "error",
    "goodbye",
)


class _Head(Struct):
    op: str


_T = TypeVar("_T")
_Decode: TypeAlias = Callable[[bytes | Raw], _T]


class _Format:
    """The decoders of one wire form; `payload` turns `data` into a payload and its kind."""

    def __init__(
        self, decoder: type[Any], payload: Callable[[Raw, str | None], tuple[bytes, PayloadKind]]
    ) -> None:
        self.push: _Decode[_Wire] = decoder(_Wire).decode
        self.head: _Decode[_Head] = decoder(_Head).decode
        self.array: _Decode[list[Raw]] = decoder(list[Raw]).decode
        self.payload = payload


def _decode(form: _Format, frame: bytes) -> list[Push]:
    try:
        try:
            return [_complete(form, form.push(frame))]
        except msgspec.ValidationError:
            pass  # an array, a push that is not known, or a bad one
        try:
            elements: list[Raw] | list[bytes] = form.array(frame)
        except msgspec.ValidationError:
            elements = [frame]
        pushes = [_known(form, element) for element in elements]
        return [push for push in pushes if push is not None]
    except RecursionError:
        raise RemoteProtocolError("push is nested too deeply") from None
    except (ValueError, TypeError, InvalidPayload) as error:
        raise RemoteProtocolError(f"not a push: {error}") from None


def _known(form: _Format, element: Raw | bytes) -> Push | None:
    """Return a push, or None for one that is not known."""
    try:
        return _complete(form, form.push(element))
    except msgspec.ValidationError:
        if form.head(element).op in _OPS:
            raise
        return None


def _complete(form: _Format, push: _Wire) -> Push:
    if not isinstance(push, _Message):
        return push
    kind: PayloadKind
    if push.data is not _ABSENT:
        payload, kind = form.payload(push.data, push.content_type)
    elif push.data_base64 is not None:
        payload, kind = a2b_base64(push.data_base64, strict_mode=True), "binary"
    else:
        raise ValueError("message without data")
    return MessagePush(
        topic=push.topic,
        offset=push.offset,
        payload=payload,
        kind=kind,
        content_type=push.content_type,
        headers=push.headers,
        expires_at=push.expires_at,
        retained=push.retained,
        group=push.group,
        deliveries=push.deliveries,
    )


def _is_json(content_type: str | None) -> bool:
    return content_type is not None and classify(content_type) == "json"


def _payload_of_json(data: Raw, content_type: str | None) -> tuple[bytes, PayloadKind]:
    payload = bytes(data)
    if payload.startswith(b'"') and not _is_json(content_type):
        return msgspec.json.decode(payload, type=str).encode(), "text"
    return payload, "json"


def _payload_of_msgpack(data: Raw, content_type: str | None) -> tuple[bytes, PayloadKind]:
    value = msgspec.msgpack.decode(data)
    if isinstance(value, bytes):
        if not _is_json(content_type):
            return value, "binary"
        check_payload(value, "json")
        return value, "json"
    if isinstance(value, str) and not _is_json(content_type):
        return value.encode(), "text"
    return msgspec.json.encode(value), "json"


_JSON: Final = _Format(msgspec.json.Decoder, _payload_of_json)
_MSGPACK: Final = _Format(msgspec.msgpack.Decoder, _payload_of_msgpack)
