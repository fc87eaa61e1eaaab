"""Responses as handlers make them."""

import json

from extra.http import Response, json_response, problem


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
