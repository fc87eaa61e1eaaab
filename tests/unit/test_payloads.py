from typing import get_args

import pytest

from extra.payloads import (
    USUAL_CONTENT_TYPE,
    PayloadKind,
    classify,
    content_type_flaw,
    headers_flaw,
)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        " application/json ",
        "application/json; charset=utf-8",
        "application/json;charset=latin-1",  # RFC 8259 section 11: the parameter means nothing
        "application/geo+json",
        "application/problem+json; x=y",
        "image/svg+JSON",
    ],
)
def test_json_is_told_by_its_name_and_by_its_suffix(content_type: str) -> None:
    """RFC 8259 section 11, RFC 6839 section 3.1."""
    assert classify(content_type) == "json"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "TEXT/HTML",
        "text/markdown; variant=CommonMark",
        "text/plain; charset=utf-8",
        "text/plain; charset=UTF-8",
        'text/plain; charset="utf-8"',
        "text/plain;charset=utf8",
        "text/plain; charset=us-ascii",
        "text/plain; Charset = UTF-8 ; format=flowed",
        "text/plain; format=flowed",
        "text/plain;",
        "text/plain;;",
    ],
)
def test_text_is_text_in_utf_8(content_type: str) -> None:
    """RFC 9110 section 8.3.2; ASCII is UTF-8, too."""
    assert classify(content_type) == "text"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset=latin-1",
        "text/plain; charset=utf-16",
        'text/plain; charset="iso-8859-1"',
        "text/plain; format=flowed; charset=utf-16",
        "text/plain; charset=",
        "text/plain; charset",
        "application/octet-stream",
        "application/xml",
        "application/jsonl",
        "application/json-seq",
        "application/+json/x",
        "image/png",
        "text",
        "json",
        "",
        ";",
    ],
)
def test_all_else_is_binary(content_type: str) -> None:
    assert classify(content_type) == "binary"


def test_each_kind_has_its_usual_content_type_and_is_told_by_it() -> None:
    """docs/protocol.md, the envelope: only what is not usual is spelt out."""
    assert set(USUAL_CONTENT_TYPE) == set(get_args(PayloadKind))
    for kind, content_type in USUAL_CONTENT_TYPE.items():
        assert classify(content_type) == kind


def test_the_usual_content_types_are_those_of_the_protocol() -> None:
    """docs/protocol.md, the envelope."""
    assert USUAL_CONTENT_TYPE == {
        "json": "application/json",
        "text": "text/plain",
        "binary": "application/octet-stream",
    }


@pytest.mark.parametrize(
    ("content_type", "flaw"),
    [
        ("text/plain; charset=utf-8", ""),
        ("x" * 255, ""),
        ("x" * 256, "content_type: longer than 255 bytes"),
        ("", "content_type: not printable ASCII"),
        ("text/pl\u00e4in", "content_type: not printable ASCII"),
        ("text/plain\r\nX: y", "content_type: not printable ASCII"),
    ],
)
def test_content_type_is_fit_for_a_field_of_http(content_type: str, flaw: str) -> None:
    assert content_type_flaw(content_type) == flaw


@pytest.mark.parametrize(
    ("headers", "flaw"),
    [
        ({}, ""),
        ({str(number): "" for number in range(64)}, ""),
        ({str(number): "" for number in range(65)}, "headers: 65 of them, at most 64"),
        ({"\u00fc": "x" * 8190}, ""),
        ({"\u00fc": "x" * 8191}, "headers: 8,193 bytes, at most 8,192"),
        ({"\ud800": ""}, ""),
    ],
)
def test_headers_are_bounded_in_number_and_bytes(headers: dict[str, str], flaw: str) -> None:
    assert headers_flaw(headers) == flaw
