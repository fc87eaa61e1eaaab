import json

import pytest

from extra.errors import InvalidPayload
from extra.payloads import PayloadKind
from extra.protocols.payloads import JSON_DEPTH_LIMIT, admit_payload, check_json_depth, check_payload, sniff

NO_JSON = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="truncated"),
    pytest.param(b"01", id="leading zero"),
    pytest.param(b"1.", id="no digits after the point"),
    pytest.param(b".5", id="no digits before the point"),
    pytest.param(b"+1", id="plus sign"),
    pytest.param(b"NaN", id="not a number"),
    pytest.param(b"-Infinity", id="infinity"),
    pytest.param(b"[1,]", id="trailing comma"),
    pytest.param(b"{1:2}", id="key that is no string"),
    pytest.param(b"'a'", id="single quotes"),
    pytest.param(b"/**/1", id="comment"),
    pytest.param(b"1 2", id="two values"),
    pytest.param(b"1\x00", id="trailing NUL"),
    pytest.param(b"\x0c1", id="form feed is no white space"),
    pytest.param(b"\xef\xbb\xbf1", id="byte order mark"),
    pytest.param(b'"\n"', id="raw line break in a string"),
    pytest.param(b'"\x1f"', id="control character in a string"),
    pytest.param(rb'"\x41"', id="unknown escape"),
    pytest.param(rb'"\ud800"', id="half of a surrogate pair"),
    pytest.param(rb'"\ud800\u0041"', id="wrong half of a surrogate pair"),
    pytest.param(b'"\xff"', id="not UTF-8"),
    pytest.param(b'"\xed\xa0\x80"', id="surrogate in UTF-8"),
    pytest.param("1".encode("utf-16"), id="UTF-16"),
]

JSON = [
    b"1",
    b" \t\r\n1 ",
    b"1e999",
    b"123456789012345678901234567890",
    b"-0.0E-7",
    b"null",
    b'""',
    rb'"\ud83d\ude00"',
    '"ü"'.encode(),
    b'"\x7f"',
    b'{"a":1,"a":2}',
]


@pytest.mark.parametrize("payload", NO_JSON)
def test_what_breaks_rfc_8259_is_no_json(payload: bytes) -> None:
    with pytest.raises(InvalidPayload, match=r"JSON|UTF-8"):
        check_payload(payload, "json")


@pytest.mark.parametrize("payload", JSON)
def test_json_of_any_shape_passes(payload: bytes) -> None:
    check_payload(payload, "json")


def test_flaw_is_named_with_its_place_and_without_the_payload() -> None:
    with pytest.raises(InvalidPayload, match=r"^payload is not JSON: invalid number \(byte 4\)$"):
        check_payload(b"[12.secret]", "json")
    with pytest.raises(InvalidPayload, match=r"^payload is not JSON: input data was truncated$"):
        check_payload(b"[", "json")
    with pytest.raises(InvalidPayload, match=r"^text payload is not UTF-8: invalid start byte at byte 1$"):
        check_payload(b"a\xff", "text")


def test_text_is_utf_8_and_binary_is_anything() -> None:
    check_payload("ü\0".encode(), "text")
    check_payload(b"\xff", "binary")


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_nests_up_to_the_limit(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for levels in (JSON_DEPTH_LIMIT, JSON_DEPTH_LIMIT + 1):
        payload = opening * levels + b"1" + closing * levels
        if levels == JSON_DEPTH_LIMIT:
            check_payload(payload, "json")
        else:
            with pytest.raises(InvalidPayload, match=r"^JSON payload has more than 128 levels$"):
                check_payload(payload, "json")


def test_nesting_beyond_what_can_be_walked_is_refused_the_same() -> None:
    with pytest.raises(InvalidPayload, match=r"^JSON payload has more than 128 levels$"):
        check_payload(nested(100_000), "json")


@pytest.mark.parametrize(
    "string",
    [
        pytest.param(b'"' + b"[" * 300 + b'"', id="brackets"),
        pytest.param(rb'"\"' + b"[" * 300 + b'"', id="behind an escaped quote"),
        pytest.param(rb'"\\\"' + b"[" * 300 + b'"', id="behind an escaped backslash and quote"),
        pytest.param(b'"","' + b"[" * 300 + b'",""', id="between empty strings"),
    ],
)
def test_brackets_in_strings_do_not_nest(string: bytes) -> None:
    check_payload(b"[" + string + b"]", "json")


@pytest.mark.parametrize(
    "string", [b'"]"', rb'"\\"', rb'"\""', b'""', b'"]]"', rb'"]\\\"]"'], ids=lambda string: str(string)
)
def test_strings_between_brackets_do_not_hide_them(string: bytes) -> None:
    levels = JSON_DEPTH_LIMIT + 1
    payload = (b"[" + string + b",") * levels + b"1" + b"]" * levels
    with pytest.raises(InvalidPayload):
        check_json_depth(payload)
    check_json_depth((b"[" + string + b",") * (levels - 1) + b"1" + b"]" * (levels - 1))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    check_payload(b"[" + b",".join([b'{"a":[]}'] * 1000) + b"]", "json")


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"{}", "json"),
        (b"21.5", "json"),
        (b"hello", "text"),
        (b"", "text"),
        (b"{", "text"),
        (b"NaN", "text"),
        (b"\xff", "binary"),
        (b'"\xff"', "binary"),
        (nested(JSON_DEPTH_LIMIT + 1), "text"),
    ],
)
def test_payload_speaks_for_itself_when_nothing_else_does(payload: bytes, kind: PayloadKind) -> None:
    """docs/protocol.md, the envelope: JSON if it parses as JSON, else text if it is UTF-8, else bytes."""
    assert sniff(payload) == kind
    assert admit_payload(payload, None) == (kind, None)
    assert admit_payload(payload, "application/x-www-form-urlencoded") == (kind, None)
    assert admit_payload(payload, "Application/X-WWW-Form-URLencoded ; charset=utf-8") == (kind, None)


@pytest.mark.parametrize(
    ("payload", "content_type", "kind"),
    [
        (b"1", "application/json", "json"),
        (b"1", "application/ld+json; profile=a", "json"),
        (b"1", "text/csv", "text"),
        (b"1", "image/png", "binary"),
        (b"\xff", "text/plain; charset=latin-1", "binary"),
    ],
)
def test_content_type_decides_the_kind_and_stays(
    payload: bytes, content_type: str, kind: PayloadKind
) -> None:
    assert admit_payload(payload, content_type) == (kind, content_type)


@pytest.mark.parametrize(
    ("payload", "content_type"), [(b"{", "application/json"), (b"\xff", "text/plain; charset=utf-8")]
)
def test_payload_that_is_not_what_its_content_type_says_is_refused(payload: bytes, content_type: str) -> None:
    with pytest.raises(InvalidPayload):
        admit_payload(payload, content_type)


@pytest.mark.parametrize(
    ("payload", "refused"),
    [
        (b"1" * 4300, False),
        (b"1" * 4301, True),
        (b"[0, -" + b"1" * 4301 + b"]", True),
        (b'["' + b"1" * 4301 + b'"]', False),
        (b'{"\\\\": ' + b"1" * 4301 + b"}", True),
        (b'["\\"' + b"1" * 4301 + b'"]', False),
        (b"[" + b",".join([b"1" * 4300] * 3) + b"]", False),
    ],
)
def test_numbers_have_no_more_digits_than_python_makes_an_integer_of(payload: bytes, refused: bool) -> None:
    if refused:
        with pytest.raises(InvalidPayload, match="number of more than 4300 digits"):
            check_payload(payload, "json")
    else:
        check_payload(payload, "json")
        json.loads(payload)
