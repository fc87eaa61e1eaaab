"""Responses as handlers make them."""

import json
from collections.abc import AsyncIterator

import pytest

from extra.http import Parts, Response, encode_body, json_response, problem


def test_json_is_compact_and_utf_8() -> None:
    response = json_response({"a": [1, None, True, "é"]}, 201, headers=[("X", "y")])
    assert response.body == '{"a":[1,null,true,"é"]}'.encode()
    assert (response.status, response.content_type) == (201, "application/json")
    assert response.headers == [("X", "y")]


def test_problem_says_what_is_wrong_for_programs_and_for_people() -> None:
    """RFC 9457 3.1."""
    response = problem(410, "unrecoverable_position", "gone", headers=[("X", "y")], cursor="e-7")
    assert (response.status, response.content_type) == (410, "application/problem+json")
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "type": "urn:extra:error:unrecoverable_position",
        "title": "Gone",
        "status": 410,
        "code": "unrecoverable_position",
        "detail": "gone",
        "cursor": "e-7",
    }
    assert response.headers == [("X", "y")]


def test_response_is_empty_unless_said_otherwise() -> None:
    response = Response()
    assert (response.status, response.body, response.content_type, response.headers) == (200, b"", None, ())


async def parts() -> AsyncIterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    ("body", "content", "content_type"),
    [
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        (b"x", b"x", "application/octet-stream"),
        (memoryview(b"x"), b"x", "application/octet-stream"),
        ({"a": [1, None]}, b'{"a":[1,null]}', "application/json"),
        (None, b"null", "application/json"),
    ],
)
def test_body_is_written_by_its_type(body: object, content: bytes, content_type: str) -> None:
    assert encode_body(body) == (content, content_type)


async def test_iterable_is_a_body_in_parts() -> None:
    body, content_type = encode_body(parts())
    assert isinstance(body, Parts)
    assert content_type is None
    await body.begin()
    assert encode_body(body) == (body, "text/plain; charset=utf-8")
    assert [part async for part in body] == [b"a", b"b"]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_body(object())


def test_header_fields_are_found_and_added() -> None:
    response = Response(headers=[("X-A", "1")])
    response.add_header("x-a", "2")
    assert list(response.headers) == [("X-A", "1"), ("x-a", "2")]
    assert (response.header("x-A"), response.header("x-b")) == ("1", None)


def test_cookies_are_header_fields() -> None:
    response = Response().set_cookie("a", "1", max_age_s=5, secure=True)
    assert response.header("set-cookie") == "a=1; Path=/; Max-Age=5; Secure; HttpOnly; SameSite=Lax"
    assert (
        Response().delete_cookie("a").header("set-cookie") == "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    )
