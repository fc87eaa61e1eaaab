"""Envelopes: what goes in comes out, in both wire forms."""

import json

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from extra.payloads import USUAL_CONTENT_TYPE, JSONValue, PayloadKind
from extra.protocols.envelope import message_json, message_msgpack
from extra.protocols.pushes import MessagePush, decode_pushes_json, decode_pushes_msgpack
from tests.property.protocols.test_payloads import values

texts = st.text(st.characters(codec="utf-8"))
offsets = st.integers(1, 2**63 - 1)
white_space = st.text(" \t\r\n", max_size=3)


@settings(deadline=None)
@given(texts, offsets, values, white_space, st.sampled_from([None, 1]))
def test_json_payload_comes_back_from_one_line(
    topic: str, offset: int, value: JSONValue, space: str, indent: int | None
) -> None:
    payload = (space + json.dumps(value, indent=indent) + space).encode()
    envelope = message_json(topic, offset, payload, "json")
    assert b"\n" not in envelope
    assert b"\r" not in envelope
    assert json.loads(envelope) == {"op": "message", "topic": topic, "offset": offset, "data": value}


@settings(deadline=None)
@given(texts, offsets, texts)
def test_text_comes_back_from_one_line(topic: str, offset: int, text: str) -> None:
    envelope = message_json(topic, offset, text.encode(), "text")
    assert b"\n" not in envelope
    assert b"\r" not in envelope
    assert json.loads(envelope) == {"op": "message", "topic": topic, "offset": offset, "data": text}
    assert msgpack.unpackb(message_msgpack(topic, offset, text.encode(), "text"))["data"] == text


@settings(deadline=None)
@given(texts, offsets, values)
def test_msgpack_brings_an_equal_value_or_the_json_itself(topic: str, offset: int, value: JSONValue) -> None:
    payload = json.dumps(value).encode()
    envelope = msgpack.unpackb(message_msgpack(topic, offset, payload, "json"))
    if "content_type" in envelope:
        assert envelope["data"] == payload
    else:
        assert envelope["data"] == value


messages = st.one_of(
    st.tuples(values.map(lambda value: json.dumps(value).encode()), st.just("json")),
    st.tuples(texts.map(str.encode), st.just("text")),
    st.tuples(st.binary(), st.just("binary")),
)
content_types: dict[PayloadKind, list[str | None]] = {
    "json": [None, "application/ld+json"],
    "text": [None, "text/html"],
    "binary": [None, "image/png"],
}


@settings(deadline=None)
@given(
    texts,
    offsets,
    messages,
    st.booleans(),
    st.dictionaries(texts, texts, max_size=3),
    st.floats(0, 1e12),
    st.booleans(),
)
def test_client_reads_the_same_message_from_both_forms(
    topic: str,
    offset: int,
    message: tuple[bytes, PayloadKind],
    unusual: bool,
    headers: dict[str, str],
    expires_at: float,
    retained: bool,
) -> None:
    payload, kind = message
    content_type = content_types[kind][unusual]
    properties = (content_type or USUAL_CONTENT_TYPE[kind], headers, expires_at, retained)
    [by_json] = decode_pushes_json(message_json(topic, offset, payload, kind, *properties))
    [by_msgpack] = decode_pushes_msgpack(message_msgpack(topic, offset, payload, kind, *properties))
    assert isinstance(by_json, MessagePush)
    assert isinstance(by_msgpack, MessagePush)
    if kind == "json":
        if by_json.kind == "text":  # a JSON string without a content type: it says the same
            by_json.payload = by_msgpack.payload = payload
            by_json.kind = by_msgpack.kind = "json"
        assert by_json.payload == payload
        assert json.loads(by_msgpack.payload) == json.loads(payload)
        by_msgpack.payload = payload
        if by_msgpack.content_type == "application/json":  # the JSON text itself
            by_msgpack.content_type = None
    expected = MessagePush(
        topic=topic,
        offset=offset,
        payload=payload,
        kind=kind,
        content_type=content_type,
        headers=headers or None,
        expires_at=expires_at or None,
        retained=retained,
    )
    assert by_json == expected
    assert by_msgpack == expected
