"""JSON: the grammar against the standard library's parser, the depth against a recursive count."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extra.errors import InvalidPayload
from extra.payloads import JSONValue
from extra.protocols.payloads import JSON_DEPTH_LIMIT, check_json_depth, check_payload, sniff

pytestmark = pytest.mark.slow

texts = st.text(st.characters(codec="utf-8")) | st.text('[]{}"\\/ab', max_size=8)
values: st.SearchStrategy[JSONValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def refuse(name: str) -> None:
    raise ValueError(name)


def is_json(payload: bytes) -> bool:
    try:
        json.loads(payload.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


def passes(payload: bytes) -> bool:
    try:
        check_payload(payload, "json")
    except InvalidPayload:
        return False
    return True


@settings(deadline=None)
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_value_passes_however_it_is_written(
    value: JSONValue, ensure_ascii: bool, indent: int | None
) -> None:
    payload = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent).encode()
    check_payload(payload, "json")
    assert sniff(payload) == "json"


@settings(max_examples=200, deadline=None)
@given(values, st.integers(0, 200), st.binary(max_size=2), st.integers(0, 2))
@example(1, 0, b"\x0b", 0)
@example("\ud83d\ude00", 1, b"\\", 0)
def test_what_passes_is_what_the_standard_library_reads(
    value: JSONValue, place: int, put: bytes, dropped: int
) -> None:
    """But for halves of surrogate pairs, which the standard library lets through."""
    payload = json.dumps(value).encode()
    place %= len(payload) + 1
    payload = payload[:place] + put + payload[place + dropped :]
    if b"\\u" not in payload.lower():
        assert passes(payload) == is_json(payload)
    elif passes(payload):
        assert is_json(payload)


@settings(deadline=None)
@given(st.text('[]{},:"\\ eE+-.01anultrfs', max_size=12))
def test_short_near_json_is_read_the_same(text: str) -> None:
    payload = text.encode()
    assert passes(payload) == is_json(payload)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_a_kind_that_they_are_of(payload: bytes) -> None:
    check_payload(payload, sniff(payload))


def depth(value: JSONValue) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(deadline=None)
@given(values, st.lists(texts, max_size=3))
def test_depth_is_counted_outside_of_strings(value: JSONValue, strings: list[str]) -> None:
    before = b"".join(json.dumps(string, ensure_ascii=False).encode() + b"," for string in strings)
    around = JSON_DEPTH_LIMIT - depth(value)
    payload = (b"[" + before) * around + json.dumps(value).encode() + b"]" * around
    check_payload(payload, "json")
    with pytest.raises(InvalidPayload):
        check_json_depth(b"[" + before + payload + b"]")
