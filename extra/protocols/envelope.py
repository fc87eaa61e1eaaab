"""The envelope of a message, and of a page of messages, as bytes: once in JSON, once in msgpack.

Plain arguments in, bytes out: this runs once for each message and wire form, and what comes out is shared
by every subscriber. A JSON payload is spliced in as it is; it was checked when it was published and is not
parsed again.
"""

from binascii import b2a_base64
from typing import Final

import msgspec

from extra.payloads import USUAL_CONTENT_TYPE, PayloadKind

__all__ = [
    "message_json",
    "message_msgpack",
    "page_json",
    "page_msgpack",
    "shared_json",
    "shared_msgpack",
]

_to_json: Final = msgspec.json.Encoder().encode
_to_msgpack: Final = msgspec.msgpack.Encoder().encode
_from_json: Final = msgspec.json.Decoder().decode


def message_json(
    topic: str,
    offset: int,
    payload: bytes,
    kind: PayloadKind,
    content_type: str | None = None,
    headers: dict[str, str] | None = None,
    expires_at: float | None = None,
    retained: bool = False,
) -> bytes:
    """Return the envelope in JSON, on one line whatever the payload: its bytes can stand in SSE and NDJSON.

    `payload` is of the `kind` that it says; `expires_at` is in Unix seconds, None and 0.0 mean never. The
    content type that is usual for the kind is left out.
    """
    head = b'{"op":"message","topic":' + _to_json(topic) + b',"offset":' + str(offset).encode()
    if kind == "json":
        # JSON strings hold no raw line break: those that there are stand between tokens, and are white space.
        head += b',"data":' + payload.replace(b"\r", b" ").replace(b"\n", b" ")
    elif kind == "text":
        head += b',"data":' + _to_json(payload.decode())
    else:
        head += b',"data_base64":"' + b2a_base64(payload, newline=False) + b'"'
    if content_type is not None or headers is not None or expires_at or retained:
        properties = _properties(kind, content_type, headers, expires_at, retained)
        if properties:
            return head + b"," + _to_json(properties)[1:]
    return head + b"}"


def message_msgpack(
    topic: str,
    offset: int,
    payload: bytes,
    kind: PayloadKind,
    content_type: str | None = None,
    headers: dict[str, str] | None = None,
    expires_at: float | None = None,
    retained: bool = False,
) -> bytes:
    """Return the envelope in msgpack; arguments as for `message_json`.

    Some JSON has no counterpart in msgpack: numbers beyond 64 bits. Such a payload travels as `bin`, the
    JSON text itself, and then `content_type` is always there to say so.
    """
    fields: dict[str, object] = {"op": "message", "topic": topic, "offset": offset}
    if kind == "json":
        try:
            fields["data"] = _from_json(payload)
            fields.update(_properties(kind, content_type, headers, expires_at, retained))
            return _to_msgpack(fields)
        except (ValueError, OverflowError, RecursionError):
            content_type = content_type or USUAL_CONTENT_TYPE[kind]
            kind = "binary"
    fields["data"] = payload.decode() if kind == "text" else payload
    fields.update(_properties(kind, content_type, headers, expires_at, retained))
    return _to_msgpack(fields)


def shared_json(envelope: bytes, group: str, deliveries: int) -> bytes:
    """Return an envelope in JSON as it goes to one member of a group: `deliveries` counts this one, too."""
    return (
        envelope[:-1] + b',"group":' + _to_json(group) + b',"deliveries":' + str(deliveries).encode() + b"}"
    )


def shared_msgpack(envelope: bytes, group: str, deliveries: int) -> bytes:
    """Return an envelope in msgpack as it goes to one member of a group.

    Its fields are a map of fewer than 14, whose header is one byte with their number.
    """
    fields = _to_msgpack({"group": group, "deliveries": deliveries})
    return bytes([envelope[0] + 2]) + envelope[1:] + fields[1:]


def page_json(messages: list[bytes], cursor: str, complete: bool, more: bool, closed: bool = False) -> bytes:
    """Return a page, the answer to a read, around envelopes made by `message_json`."""
    head = _to_json(_page_fields(cursor, complete, more, closed))
    return head[:-1] + b',"messages":[' + b",".join(messages) + b"]}"


def page_msgpack(
    messages: list[bytes], cursor: str, complete: bool, more: bool, closed: bool = False
) -> bytes:
    """Return a page around envelopes made by `message_msgpack`."""
    fields = _page_fields(cursor, complete, more, closed)
    fields["messages"] = [msgspec.Raw(message) for message in messages]
    return _to_msgpack(fields)


def _page_fields(cursor: str, complete: bool, more: bool, closed: bool) -> dict[str, object]:
    fields: dict[str, object] = {"cursor": cursor, "complete": complete, "more": more}
    if closed:
        fields["closed"] = True
    return fields


def _properties(
    kind: PayloadKind,
    content_type: str | None,
    headers: dict[str, str] | None,
    expires_at: float | None,
    retained: bool,
) -> dict[str, object]:
    """Return those fields of an envelope that are there only when they say something."""
    properties: dict[str, object] = {}
    if content_type is not None and content_type != USUAL_CONTENT_TYPE[kind]:
        properties["content_type"] = content_type
    if headers:
        properties["headers"] = headers
    if expires_at:
        properties["expires_at"] = expires_at
    if retained:
        properties["retained"] = True
    return properties
