import json

import msgpack
import pytest

from extra.payloads import PayloadKind
from extra.protocols.envelope import message_json, message_msgpack, page_json, page_msgpack


def test_json_envelope_is_that_of_the_reference() -> None:
    """docs/protocol.md, the envelope."""
    assert message_json("site/kitchen/temp", 17, b'{"celsius":21}', "json") == (
        b'{"op":"message","topic":"site/kitchen/temp","offset":17,"data":{"celsius":21}}'
    )


def test_json_payload_keeps_its_digits_and_its_spelling() -> None:
    payload = rb'{"a": 1.0000000000000000000001, "b":1e999,"a":"\u00fc"}'
    assert payload in message_json("a", 1, payload, "json")


def test_line_breaks_between_tokens_become_spaces() -> None:
    envelope = message_json("a", 1, b'{\r\n "a":\n1\r}\n', "json")
    assert envelope == b'{"op":"message","topic":"a","offset":1,"data":{   "a": 1 } }'


def test_topic_and_text_are_escaped() -> None:
    envelope = message_json('a/"\n\\ü', 1, b'line 1\r\n"line 2"', "text")
    assert b"\n" not in envelope
    assert b"\r" not in envelope
    assert json.loads(envelope) == {
        "op": "message",
        "topic": 'a/"\n\\ü',
        "offset": 1,
        "data": 'line 1\r\n"line 2"',
    }


def test_bytes_travel_in_base64_in_json_and_as_they_are_in_msgpack() -> None:
    assert json.loads(message_json("a", 1, b"\xff\0", "binary"))["data_base64"] == "/wA="
    assert msgpack.unpackb(message_msgpack("a", 1, b"\xff\0", "binary"))["data"] == b"\xff\0"


def test_properties_come_after_the_data_when_there_are_any() -> None:
    """docs/protocol.md, the envelope: fields that are there only when they say something."""
    envelope = message_json(
        "a",
        1,
        b"1",
        "json",
        content_type="application/ld+json",
        headers={"n": "v"},
        expires_at=1.5,
        retained=True,
    )
    assert envelope == (
        b'{"op":"message","topic":"a","offset":1,"data":1,"content_type":"application/ld+json",'
        b'"headers":{"n":"v"},"expires_at":1.5,"retained":true}'
    )
    packed = message_msgpack(
        "a",
        1,
        b"1",
        "json",
        content_type="application/ld+json",
        headers={"n": "v"},
        expires_at=1.5,
        retained=True,
    )
    assert msgpack.unpackb(packed) == json.loads(envelope)


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("json", "application/json"), ("text", "text/plain"), ("binary", "application/octet-stream")],
)
def test_usual_content_type_and_empty_properties_are_left_out(kind: PayloadKind, content_type: str) -> None:
    plain = message_json("a", 1, b"1", kind)
    assert message_json("a", 1, b"1", kind, content_type, {}, 0.0, False) == plain
    assert message_json("a", 1, b"1", kind, content_type, None, None) == plain
    plain = message_msgpack("a", 1, b"1", kind)
    assert message_msgpack("a", 1, b"1", kind, content_type, {}, 0.0, False) == plain


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"1e999", id="infinite as a double"),
        pytest.param(b"123456789012345678901234567890", id="longer than 64 bits"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested beyond any stack"),
        pytest.param(rb'"\ud800"', id="half of a surrogate pair"),
    ],
)
def test_json_without_counterpart_in_msgpack_travels_as_its_text(payload: bytes) -> None:
    envelope = msgpack.unpackb(message_msgpack("a", 1, payload, "json", headers={"n": "v"}))
    assert envelope["data"] == payload
    assert envelope["content_type"] == "application/json"
    assert envelope["headers"] == {"n": "v"}
    envelope = msgpack.unpackb(message_msgpack("a", 1, payload, "json", "application/ld+json"))
    assert envelope["content_type"] == "application/ld+json"


def test_page_holds_envelopes_as_they_are() -> None:
    """docs/protocol.md, read and long-poll."""
    first, second = message_json("a", 1, b"1", "json"), message_json("a", 2, b"x", "text")
    page = page_json([first, second], "k3f9a0b2-2", complete=True, more=False)
    assert page == (
        b'{"cursor":"k3f9a0b2-2","complete":true,"more":false,"messages":[' + first + b"," + second + b"]}"
    )
    assert json.loads(page_json([], "k3f9a0b2-0", complete=False, more=True)) == {
        "cursor": "k3f9a0b2-0",
        "complete": False,
        "more": True,
        "messages": [],
    }


def test_msgpack_page_is_the_same_object() -> None:
    messages = [message_msgpack("a", offset, b"1", "json") for offset in range(20)]
    page = msgpack.unpackb(page_msgpack(messages, "k3f9a0b2-2", complete=True, more=False))
    assert page == {
        "cursor": "k3f9a0b2-2",
        "complete": True,
        "more": False,
        "messages": [{"op": "message", "topic": "a", "offset": offset, "data": 1} for offset in range(20)],
    }
