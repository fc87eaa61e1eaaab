"""Commands and pushes as bytes: what a client writes to its broker, and the broker to one connection."""

from binascii import b2a_base64
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from extra.payloads import USUAL_CONTENT_TYPE
from extra.protocols.commands import Command, Publish
from extra.protocols.envelope import message_json, message_msgpack, shared_json, shared_msgpack
from extra.protocols.pushes import MessagePush, Push

__all__ = ["encode_json", "encode_msgpack"]

_JSON: Final = USUAL_CONTENT_TYPE["json"]
_TEXT: Final = USUAL_CONTENT_TYPE["text"]

_to_json: Final = msgspec.json.Encoder().encode
_to_msgpack: Final = msgspec.msgpack.Encoder().encode


def encode_json(item: Command | Push) -> bytes:
    """Return a command or push in JSON. Fields that say nothing are left out."""
    if isinstance(item, Publish):
        if item.kind == "json":
            return _to_json(_publish_fields(item, {"data": Raw(item.payload)}, item.content_type))
        if item.kind == "text":
            return _to_json(
                _publish_fields(item, {"data": item.payload.decode()}, item.content_type or _TEXT)
            )
        encoded = b2a_base64(item.payload, newline=False).decode()
        return _to_json(_publish_fields(item, {"data_base64": encoded}, item.content_type))
    if isinstance(item, MessagePush):
        written = message_json(*msgspec.structs.astuple(item)[:8])
        return written if item.group is None else shared_json(written, item.group, item.deliveries)
    return _to_json(item)


def encode_msgpack(item: Command | Push) -> bytes:
    """Return a command or push in msgpack. Fields that say nothing are left out."""
    if isinstance(item, Publish):
        if item.kind == "text":
            data = {"data": item.payload.decode()}
            return _to_msgpack(_publish_fields(item, data, item.content_type or _TEXT))
        if item.kind == "json":
            try:
                value = msgspec.json.decode(item.payload)
                return _to_msgpack(_publish_fields(item, {"data": value}, item.content_type))
            except (
                ValueError,
                OverflowError,
                RecursionError,
            ):  # numbers beyond 64 bits: the JSON text as `bin`
                return _to_msgpack(_publish_fields(item, {"data": item.payload}, item.content_type or _JSON))
        return _to_msgpack(_publish_fields(item, {"data": item.payload}, item.content_type))
    if isinstance(item, MessagePush):
        written = message_msgpack(*msgspec.structs.astuple(item)[:8])
        return written if item.group is None else shared_msgpack(written, item.group, item.deliveries)
    return _to_msgpack(item)


def _publish_fields(
    publish: Publish, data: Mapping[str, object], content_type: str | None
) -> dict[str, object]:
    """Return `publish` as it stands in a frame. Without a content type a string in `data` is read as JSON."""
    fields: dict[str, object] = {"op": "publish", "topic": publish.topic, **data}
    options = {
        "id": publish.id,
        "retain": publish.retain or None,
        "ttl": publish.ttl,
        "key": publish.key,
        "content_type": content_type,
        "headers": publish.headers,
        "if_last": publish.if_last,
        "close": publish.close,
        "deliver_at": publish.deliver_at,
    }
    fields.update((name, value) for name, value in options.items() if value is not None)
    return fields
