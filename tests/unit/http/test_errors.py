"""Errors become responses."""

import json

import pytest

from extra.errors import EngineUnavailable, ExtraError, InvalidTopic
from extra.http import (
    BadRequest,
    BodyTooLarge,
    BodyTruncated,
    Found,
    Gone,
    MethodNotAllowed,
    MovedPermanently,
    NotFound,
    PermanentRedirect,
    RequestTimeout,
    Response,
    SeeOther,
    ServerOverloaded,
    TemporaryRedirect,
    TooManyRequests,
    problem_response,
)
from extra.protocols.http1 import MalformedRequest, OversizeRequest, UnsupportedRequest


def code_of(response: Response) -> object:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)["code"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("x"), 404, "not_found"),
        (MethodNotAllowed("x", "GET"), 405, "method_not_allowed"),
        (RequestTimeout("x"), 408, "request_timeout"),
        (BodyTooLarge(3, "limit"), 413, "limit_exceeded"),
        (BodyTruncated("x"), 400, "remote_protocol_error"),
        (ServerOverloaded("x", 5), 503, "limit_exceeded"),
        (MalformedRequest("x"), 400, "remote_protocol_error"),
        (OversizeRequest("x", 431), 431, "limit_exceeded"),
        (UnsupportedRequest("x", 501), 501, "unsupported"),
        (InvalidTopic("x"), 400, "invalid_topic"),
        (EngineUnavailable("x"), 503, "engine_unavailable"),
        (BadRequest(), 400, "bad_request"),
        (Gone("x"), 410, "gone"),
    ],
)
def test_error_says_its_status_itself_or_the_table_does(error: ExtraError, status: int, code: str) -> None:
    response = problem_response(error)
    assert (response.status, code_of(response)) == (status, code)


def test_error_may_have_header_fields() -> None:
    assert list(problem_response(MethodNotAllowed("x", "GET, HEAD")).headers) == [("Allow", "GET, HEAD")]
    assert list(problem_response(ServerOverloaded("x", 5)).headers) == [("Retry-After", "5")]


def test_bug_says_nothing_but_that_there_is_one() -> None:
    response = problem_response(ZeroDivisionError("secret"))
    assert (response.status, code_of(response)) == (500, "internal")
    assert isinstance(response.body, bytes)
    assert b"secret" not in response.body


def test_redirect_is_a_response_without_a_body() -> None:
    for kind, status in (
        (MovedPermanently, 301),
        (Found, 302),
        (SeeOther, 303),
        (TemporaryRedirect, 307),
        (PermanentRedirect, 308),
    ):
        response = problem_response(kind("/a b\r\nX: y?q=é"))
        assert (response.status, response.body) == (status, b"")
        assert list(response.headers) == [("Location", "/a%20b%0D%0AX:%20y?q=%C3%A9")]


def test_error_may_have_further_members() -> None:
    response = problem_response(BadRequest("no", errors=[{"field": "a"}]))
    assert isinstance(response.body, bytes)
    document = json.loads(response.body)
    assert (document["detail"], document["errors"]) == ("no", [{"field": "a"}])


def test_what_is_temporary_may_be_tried_again() -> None:
    assert list(problem_response(EngineUnavailable("x")).headers) == [("Retry-After", "1")]
    assert list(problem_response(TooManyRequests(headers=[("Retry-After", "9")])).headers) == [
        ("Retry-After", "9")
    ]
    assert list(problem_response(BadRequest()).headers) == []
