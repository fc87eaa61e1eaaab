import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from extra.errors import RemoteProtocolError
from extra.protocols.pushes import (
    ErrorPush,
    GapPush,
    Goodbye,
    MessagePush,
    Pong,
    Push,
    Subscribed,
    Welcome,
    decode_pushes_json,
    decode_pushes_msgpack,
)


def by_json(frame: Any) -> list[Push]:
    return decode_pushes_json(json.dumps(frame).encode())


def by_msgpack(frame: Any) -> list[Push]:
    packed = msgpack.packb(frame)
    assert isinstance(packed, bytes)
    return decode_pushes_msgpack(packed)


Decode = Callable[[Any], list[Push]]
both = pytest.mark.parametrize("decode", [by_json, by_msgpack], ids=["json", "msgpack"])

WELCOME = {"op": "welcome", "session": "s", "epoch": "e", "cursor": "e-1", "version": "1.0"}


@both
def test_push_is_read_and_what_is_not_known_of_it_ignored(decode: Decode) -> None:
    """docs/protocol.md, the envelope: a receiver ignores fields that it does not know."""
    assert decode({**WELCOME, "since": "tomorrow"}) == [
        Welcome(session="s", epoch="e", cursor="e-1", version="1.0")
    ]
    assert decode({"op": "pong"}) == [Pong()]
    assert decode({"op": "gap", "after": None, "until": 0, "reason": "of tomorrow"}) == [
        GapPush(after=None, until=0, reason="of tomorrow")
    ]
    assert decode({"op": "error", "code": "c", "message": "m", "temporary": True}) == [
        ErrorPush(code="c", message="m", temporary=True)
    ]
    assert decode({"op": "goodbye", "cursor": "e-1", "reconnect_after": 2, "reason": "slow"}) == [
        Goodbye(cursor="e-1", reconnect_after=2.0, reason="slow")
    ]


@both
def test_array_is_its_pushes_in_order_without_those_that_are_not_known(decode: Decode) -> None:
    frame = [{"op": "pong", "id": 1}, {"op": "joined", "who": 1}, {"op": "pong", "id": "2"}]
    assert decode(frame) == [Pong(id=1), Pong(id="2")]
    assert decode([]) == []
    assert decode({"op": "joined"}) == []


@both
@pytest.mark.parametrize(
    "fields",
    [
        {"op": "subscribed", "cursor": "e-1", "replayed": 2},
        {"op": "subscribed", "cursor": "e-1", "replayed": "2", "complete": True},
        {"op": 1},
        {},
        [],
        5,
        {"op": "message", "topic": "a", "offset": 1},
        {"op": "message", "topic": "a", "offset": "1", "data": 1},
        {"op": "message", "topic": "a", "offset": 1, "data_base64": "!"},
    ],
)
def test_push_that_is_not_what_its_op_says_is_an_error(decode: Decode, fields: Any) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^not a push: "):
        decode([{"op": "pong"}, fields])
    if fields != []:
        with pytest.raises(RemoteProtocolError, match=r"^not a push: "):
            decode(fields)


@pytest.mark.parametrize("frame", [b"", b"{", b"\xff", b'{"op":"\xff"}', b'"', b"[1", b"\x00"])
def test_frame_that_cannot_be_parsed_is_an_error(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_pushes_json(frame)
    with pytest.raises(RemoteProtocolError):
        decode_pushes_msgpack(b"\x81" + frame)


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="nested too deeply"):
        decode_pushes_json(b"[" * 100_000)
    with pytest.raises(RemoteProtocolError, match="nested too deeply"):
        decode_pushes_msgpack(b"\x91" * 100_000)


MESSAGE = {"op": "message", "topic": "a", "offset": 1}


@both
@pytest.mark.parametrize(
    ("fields", "payload", "kind"),
    [
        ({"data": {"a": [1]}}, b'{"a":[1]}', "json"),
        ({"data": None}, b"null", "json"),
        ({"data": "hi\nü"}, "hi\nü".encode(), "text"),
        ({"data": "<p>", "content_type": "text/html"}, b"<p>", "text"),
        ({"data": "hi", "content_type": "application/ld+json"}, b'"hi"', "json"),
        ({"data_base64": "/wA="}, b"\xff\0", "binary"),
    ],
)
def test_message_has_its_payload_and_what_it_is(
    decode: Decode, fields: dict[str, Any], payload: bytes, kind: str
) -> None:
    """docs/protocol.md, the envelope."""
    [message] = decode({**MESSAGE, **fields})
    assert isinstance(message, MessagePush)
    assert (message.topic, message.offset) == ("a", 1)
    assert (message.payload.replace(b" ", b""), message.kind) == (payload, kind)
    assert message.content_type == fields.get("content_type")
    assert (message.headers, message.expires_at, message.retained) == (None, None, False)


@both
def test_message_has_its_properties(decode: Decode) -> None:
    [message] = decode({**MESSAGE, "data": 1, "headers": {"n": "v"}, "expires_at": 1.5, "retained": True})
    assert isinstance(message, MessagePush)
    assert (message.headers, message.expires_at, message.retained) == ({"n": "v"}, 1.5, True)


def test_json_payload_is_the_slice_of_the_frame() -> None:
    [message] = decode_pushes_json(b'{"op":"message","topic":"a","offset":1,"data":{"a": 1e999}}')
    assert isinstance(message, MessagePush)
    assert message.payload == b'{"a": 1e999}'


def test_msgpack_bin_is_bytes_unless_it_is_said_to_be_json() -> None:
    assert by_msgpack({**MESSAGE, "data": b"\xff"})[0] == MessagePush(
        topic="a", offset=1, payload=b"\xff", kind="binary"
    )
    [message] = by_msgpack({**MESSAGE, "data": b"1e999", "content_type": "application/json"})
    assert isinstance(message, MessagePush)
    assert (message.payload, message.kind) == (b"1e999", "json")
    with pytest.raises(RemoteProtocolError, match="payload is not JSON"):
        by_msgpack({**MESSAGE, "data": b"{", "content_type": "application/json"})


def test_msgpack_extension_types_are_no_payload() -> None:
    with pytest.raises(RemoteProtocolError):
        by_msgpack({**MESSAGE, "data": msgpack.ExtType(5, b"")})


def test_defaults_are_those_of_the_reference() -> None:
    assert Subscribed(cursor="e-1", replayed=0, complete=True).id is None
    assert GapPush(after=1, until=2, reason="evicted").dropped == 0
