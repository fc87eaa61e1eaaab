"""Errors become responses."""

import json

import pytest

from extra.errors import ExtraError, InvalidTopic
from extra.http import (
    BodyTooLarge,
    BodyTruncated,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    Response,
    ServerOverloaded,
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
        (InvalidTopic("x"), 500, "invalid_topic"),
    ],
)
def test_error_says_its_status_itself_or_is_500(error: ExtraError, status: int, code: str) -> None:
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
