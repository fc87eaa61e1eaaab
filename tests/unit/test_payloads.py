from typing import get_args

import pytest

from extra.payloads import USUAL_CONTENT_TYPE, PayloadKind, classify


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
