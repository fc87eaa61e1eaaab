"""Errors that a broker tells of: by code, and in HTTP answers."""

import json

import pytest

from extra import errors
from extra.client.problems import error_from_answer, error_from_code
from extra.errors import BrokerClosed, ExtraError, InvalidTopic, RemoteProtocolError

URL = "http://host"


@pytest.mark.parametrize("name", errors.__all__)
def test_each_class_comes_back_by_its_code(name: str) -> None:
    kind = getattr(errors, name)
    error = error_from_code(kind.code, "what is wrong")
    assert type(error) is kind
    assert str(error) == "what is wrong"


def test_a_code_that_has_no_class_is_told_in_the_message() -> None:
    error = error_from_code("not_subscribed", "to 'a'")
    assert type(error) is ExtraError
    assert str(error) == "not_subscribed: to 'a'"


def test_a_problem_document_gives_the_error_of_its_code() -> None:
    """RFC 9457; docs/protocol.md, "Errors"."""
    body = json.dumps({"status": 400, "code": "invalid_topic", "detail": "wildcard '+'"}).encode()
    error = error_from_answer(400, "application/problem+json; charset=utf-8", body, URL)
    assert type(error) is InvalidTopic
    assert str(error) == "wildcard '+'"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"code":7}', b"\xff"])
@pytest.mark.parametrize("content_type", ["application/problem+json", "text/html", ""])
def test_anything_else_is_no_broker(content_type: str, body: bytes) -> None:
    error = error_from_answer(404, content_type, body, URL)
    assert type(error) is RemoteProtocolError
    assert str(error) == "http://host answers with status 404, not as a broker does"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_a_broker_behind_it_is_worth_retrying(status: int) -> None:
    error = error_from_answer(status, "text/html", b"<html>", URL)
    assert type(error) is BrokerClosed
    assert error.temporary
