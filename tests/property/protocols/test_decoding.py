"""Whatever comes in a frame, decoding gives commands that are what they should be, or says what is wrong."""

import json
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extra.errors import InvalidCommand, LimitExceeded, RemoteProtocolError
from extra.protocols.commands import (
    MAX_ID_BYTES,
    Ack,
    Command,
    Ping,
    Publish,
    Rejected,
    Subscribe,
    Unsubscribe,
)
from extra.protocols.decoding import (
    decode_commands_json,
    decode_commands_msgpack,
    decode_publishes_json,
    decode_publishes_lines,
    decode_publishes_msgpack,
)
from extra.protocols.encoding import encode_json, encode_msgpack
from extra.protocols.payloads import check_payload
from extra.protocols.pushes import decode_pushes_json, decode_pushes_msgpack

pytestmark = pytest.mark.slow

texts = st.text(st.characters(codec="utf-8"), max_size=70)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
ops = st.sampled_from(["subscribe", "unsubscribe", "publish", "ack", "ping", "message", "gap"])
contents = st.sampled_from([None, "text/plain", "application/json", "image/png", "a\n"])
objects: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "op": ops | anything,
        "id": st.integers() | texts | anything,
        "topic": texts | anything,
        "filter": texts | st.lists(texts, max_size=3) | anything,
        "data": anything,
        "data_base64": st.sampled_from(["", "AA==", "A"]) | anything,
        "content_type": contents | anything,
        "headers": st.dictionaries(texts, texts, max_size=3) | anything,
        "ttl": st.floats() | anything,
        "key": texts | anything,
        "retain": st.booleans() | anything,
        "offset": st.integers() | anything,
        "overflow": st.sampled_from(["latest", "drop-oldest"]) | anything,
        "other": anything,
    },
)
frames = objects | st.lists(objects | anything, max_size=4) | anything


def check(results: list[Any]) -> None:
    for result in results:
        assert isinstance(result, Subscribe | Unsubscribe | Publish | Ack | Ping | Rejected)
        identifier = result.id
        assert identifier is None or type(identifier) in (int, str)
        assert len(str(identifier).encode()) <= MAX_ID_BYTES
        if isinstance(result, Rejected):
            assert result.code in ("invalid_command", "invalid_payload", "limit_exceeded")
            assert 0 < len(result.message) < 400
        elif isinstance(result, Publish):
            assert type(result.payload) is bytes
            check_payload(result.payload, result.kind)
            assert result.ttl is None or 0 < result.ttl <= 1e9


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")))
@example('{"op":"publish","topic":"a","data":1e999}')
def test_any_text_is_commands_or_rejections(frame: str) -> None:
    check(decode_commands_json(frame.encode()))


@settings(max_examples=200, deadline=None)
@given(frames)
def test_any_json_is_commands_or_rejections(frame: Any) -> None:
    check(decode_commands_json(json.dumps(frame, ensure_ascii=False).encode()))


@settings(max_examples=200, deadline=None)
@given(st.binary())
@example(b"\xdd\x7f\xff\xff\xff")
def test_any_bytes_are_commands_or_rejections_in_msgpack(frame: bytes) -> None:
    check(decode_commands_msgpack(frame))


def pack(value: Any) -> bytes:
    packed = msgpack.packb(value, default=str)
    assert isinstance(packed, bytes)
    return packed


def within_64_bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: within_64_bits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [within_64_bits(inner) for inner in value]
    return value % 2**63 if isinstance(value, int) and not isinstance(value, bool) else value


@settings(max_examples=200, deadline=None)
@given(frames.map(within_64_bits), st.integers(0, 300), st.binary(max_size=3))
def test_any_msgpack_is_commands_or_rejections_damaged_or_not(frame: Any, place: int, put: bytes) -> None:
    packed = pack(frame)
    check(decode_commands_msgpack(packed))
    place %= len(packed)
    check(decode_commands_msgpack(packed[:place] + put + packed[place + len(put) :]))
    check(decode_commands_msgpack(packed[:place]))


@settings(deadline=None)
@given(st.lists(objects, min_size=1, max_size=4))
def test_array_is_what_its_elements_are_one_by_one(elements: list[dict[str, Any]]) -> None:
    frames = [json.dumps(element).encode() for element in elements]
    try:
        json.loads(b"".join(frames), parse_constant=lambda name: 1 / 0)
    except ZeroDivisionError:
        return  # NaN is no JSON: one refuses the whole frame
    except ValueError:
        pass
    one_by_one = [result for frame in frames for result in decode_commands_json(frame)]
    if all(not (isinstance(result, Rejected) and result.id is None) for result in one_by_one):
        assert decode_commands_json(b"[" + b",".join(frames) + b"]") == one_by_one


identifiers = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text("abcü", max_size=32)
some_filter = texts | st.lists(texts, min_size=1, max_size=3)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        Subscribe,
        some_filter,
        identifiers,
        st.none() | texts,
        st.sampled_from([None, "disconnect", "drop-oldest", "latest"]),
        st.none() | st.booleans(),
        st.sampled_from([None, "missing", "all"]),
    ),
    st.builds(Unsubscribe, some_filter, identifiers),
    st.builds(Ack, st.integers(0, 2**63 - 1), identifiers),
    st.builds(Ping, identifiers),
    st.builds(
        Publish,
        texts,
        st.binary(),
        st.just("binary"),
        identifiers,
        st.booleans(),
        st.none() | st.floats(1e-9, 1e9),
        st.none() | st.text("kü", min_size=1, max_size=99),
        st.sampled_from([None, "image/png"]),
        st.none() | st.dictionaries(texts, texts, max_size=3),
    ),
)


@settings(deadline=None)
@given(st.lists(commands, max_size=3))
def test_commands_come_through_in_both_forms(sent: list[Command]) -> None:
    for command in sent:
        assert decode_commands_json(encode_json(command)) == [command]
        assert decode_commands_msgpack(encode_msgpack(command)) == [command]
    assert decode_commands_json(b"[" + b",".join(map(encode_json, sent)) + b"]") == sent
    packed = bytes([0x90 + len(sent)]) + b"".join(map(encode_msgpack, sent))
    assert decode_commands_msgpack(packed) == sent


@settings(deadline=None)
@given(st.binary() | frames.map(lambda frame: json.dumps(frame).encode()))
def test_any_body_is_messages_or_refused(body: bytes) -> None:
    for decode in (decode_publishes_json, decode_publishes_lines, decode_publishes_msgpack):
        with suppress(InvalidCommand, LimitExceeded):
            check(decode(body, 2))


@settings(deadline=None)
@given(st.binary() | frames.map(lambda frame: json.dumps(frame).encode()), st.binary(max_size=2))
def test_client_reads_any_frame_or_says_that_the_peer_is_wrong(frame: bytes, more: bytes) -> None:
    for decode in (decode_pushes_json, decode_pushes_msgpack):
        with suppress(RemoteProtocolError):
            decode(frame + more)


@settings(max_examples=200, deadline=None)
@given(frames.map(within_64_bits), st.integers(0, 300), st.binary(max_size=3))
def test_client_reads_any_msgpack_or_says_that_the_peer_is_wrong(frame: Any, place: int, put: bytes) -> None:
    packed = pack(frame)
    place %= len(packed)
    for damaged in (packed, packed[:place] + put + packed[place + len(put) :]):
        with suppress(RemoteProtocolError):
            decode_pushes_msgpack(damaged)
