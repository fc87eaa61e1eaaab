"""Lambda, with events as its documentation shows them; `tests/conformance/bridges` has recorded ones."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from extra import Request, Service, on, server
from extra.bridges.awslambda import LambdaHandler, lambda_handler
from tests.unit.bridges.material import Kit


def api_gateway_v1(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"Host": "x.execute-api.example.com", "X-Forwarded-Proto": "https", "Cookie": "c=1"},
        "multiValueHeaders": {"Host": ["x.execute-api.example.com"], "Cookie": ["c=1"]},
        "queryStringParameters": {"x": "a b"},
        "multiValueQueryStringParameters": {"x": ["a b"]},
        "pathParameters": {"proxy": path[1:]},
        "stageVariables": None,
        "requestContext": {"stage": "prod", "identity": {"sourceIp": "192.0.2.1"}, "httpMethod": method},
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def api_gateway_v2(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "x=a%20b",
        "cookies": ["c=1"],
        "headers": {"host": "x.execute-api.example.com", "x-forwarded-proto": "https"},
        "queryStringParameters": {"x": "a b"},
        "requestContext": {
            "accountId": "123456789012",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def function_url(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    event = api_gateway_v2(method, path, body)
    event["headers"] = {"host": "abc.lambda-url.eu-west-1.on.aws", "content-length": str(len(body))}
    event["requestContext"] |= {"apiId": "abc", "domainName": "abc.lambda-url.eu-west-1.on.aws"}
    return event


SHAPES = (api_gateway_v1, api_gateway_v2, function_url)


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture
def handler(kit: Kit) -> Iterator[LambdaHandler]:
    handler = lambda_handler(server(kit), response_limit_bytes=1_000_000)
    yield handler
    handler.close()
    handler.close()


@pytest.mark.parametrize("event", SHAPES)
def test_events_of_each_shape_are_answered(event: Any, handler: LambdaHandler, kit: Kit) -> None:
    answer = handler(event("GET", "/hello/ann"), None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"name": "ann", "x": "a b", "root_path": "", "cookie": "1"}
    assert answer["headers"]["content-type"] == "application/json"
    answer = handler(event("POST", "/echo", b"\xff\x00"), None)
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (201, True)
    assert base64.b64decode(answer["body"]) == b"\xff\x00"
    cookies = answer["cookies"] if "cookies" in answer else answer["multiValueHeaders"]["set-cookie"]
    assert [cookie.partition(";")[0] for cookie in cookies] == ["a=1", "b=2"]
    failure = handler(event("GET", "/fail"), None)
    assert (failure["statusCode"], failure["isBase64Encoded"]) == (500, False)
    assert json.loads(failure["body"])["code"] == "internal"
    assert handler(event("GET", "/stream"), None)["body"] == "0\n1\n2\n"
    assert kit.events == ["start"]
    handler.close()
    assert kit.events == ["start", "stop"]


@pytest.mark.parametrize("event", SHAPES)
def test_responses_are_streamed(event: Any, handler: LambdaHandler, kit: Kit) -> None:
    parts = handler.stream(event("POST", "/echo", b"abc"), None)
    prelude, _, rest = next(parts).partition(b"\0" * 8)
    head = json.loads(prelude)
    assert (head["statusCode"], rest) == (201, b"")
    assert [cookie.partition(";")[0] for cookie in head["cookies"]] == ["a=1", "b=2"]
    assert b"".join(parts) == b"abc"
    endless = handler.stream(event("GET", "/endless"), None)
    next(endless)
    assert next(endless) == b"tick\n"
    endless.close()
    assert kit.events == ["start", "closed"]


def test_response_that_is_too_large_is_broken_off(handler: LambdaHandler, kit: Kit) -> None:
    assert handler(api_gateway_v2("GET", "/endless"), None)["statusCode"] == 500
    assert kit.events == ["start", "closed"]


def test_event_that_is_no_request_is_refused(handler: LambdaHandler) -> None:
    with pytest.raises(RuntimeError):
        handler({"Records": []}, None)


class Paths(Service):
    """Tells of the path that it was asked for."""

    @on(GET="/show/{name}")
    async def show(self, request: Request, name: str) -> list[str]:
        return [name, request.root_path, request.client]

    @on(GET="/{any}")
    async def rest(self, any: str) -> list[str]:
        return ["rest", any]


def load_balancer(method: str, path: str) -> dict[str, Any]:
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": method,
        "path": path,
        "multiValueHeaders": {"X-Forwarded-For": ["198.51.100.7, 192.0.2.1"], "Host": ["lb.example.com"]},
        "multiValueQueryStringParameters": {},
        "body": "",
        "isBase64Encoded": False,
    }


def http_api_v1(method: str, path: str) -> dict[str, Any]:
    return {**api_gateway_v1(method, path), "version": "1.0"}


def told(event: dict[str, Any], **options: Any) -> Any:
    handler = lambda_handler(server(Paths), **options)
    try:
        return json.loads(handler(event, None)["body"])
    finally:
        handler.close()


@pytest.mark.parametrize("shape", [api_gateway_v1, function_url, load_balancer])
@pytest.mark.parametrize(
    ("path", "name"),
    [("a%2Fb", "a/b"), ("100%25", "100%"), ("%2541", "%41"), ("%E7%8C%AB", "\u732b"), ("a%3Fb+c", "a?b+c")],
)
def test_path_comes_as_it_was_sent(shape: Any, path: str, name: str) -> None:
    assert told(shape("GET", f"/show/{path}")) == [name, "", "192.0.2.1:0"]


@pytest.mark.parametrize("shape", [api_gateway_v2, http_api_v1])
def test_path_that_an_http_api_has_decoded_is_not_decoded_again(shape: Any) -> None:
    assert told(shape("GET", "/show/%41 100%"))[0] == "%41 100%"
    assert told(shape("GET", "/show/a/b")) == ["rest", "show/a/b"]


@pytest.mark.parametrize("shape", [api_gateway_v1, api_gateway_v2])
def test_base_path_is_where_the_application_is_mounted(shape: Any) -> None:
    for base_path in ("/base", "base/"):
        assert told(shape("GET", "/base/show/a"), base_path=base_path)[:2] == ["a", "/base"]
        assert told(shape("GET", "/basement/show"), base_path=base_path) == ["rest", "basement/show"]
        assert told(shape("GET", "/base"), base_path=base_path) == ["rest", ""]


def test_fields_of_one_name_stay_apart(handler: LambdaHandler) -> None:
    event = api_gateway_v1("GET", "/hello/ann")
    event["multiValueHeaders"]["Cookie"] = ["a=1", "c=2"]
    assert json.loads(handler(event, None)["body"])["cookie"] == "2"
