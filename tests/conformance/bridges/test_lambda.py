"""Lambda, with events of each shape that others have made; where they come from says the README beside."""

import base64
import json
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from extra import Request, Response, Service, on, server
from extra.bridges.awslambda import LambdaHandler, lambda_handler

FOLDER = Path(__file__).parent / "lambda_events"
SHAPES = ("rest-v1", "http-v1", "http-v2", "function-url")
RECORDED = {
    f"{shape}-{name}": (shape, record["sent"], record["event"])
    for shape in SHAPES
    for name, record in json.loads((FOLDER / f"{shape}.json").read_text("utf-8")).items()
}
GENERATED = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("generated-*.json")}


class Mirror(Service):
    """Answers with what it has been asked, and with a body of the kind that it was sent."""

    @on(GET_POST_PUT_DELETE="{any}")
    async def see(self, request: Request, any: str) -> Response:
        body = await request.body()
        response = request.json(
            {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "many": request.header("x-many"),
                "type": request.header("content-type"),
                "cookies": request.cookies,
                "scheme": request.scheme,
                "client": request.client,
                "body": base64.b64encode(body).decode(),
            },
            status=201,
        )
        response.add_header("X-One", "1")
        response.add_header("X-Name", "caf\xe9")
        return response.set_cookie("a", "1").set_cookie("b", "2")

    @on(GET="/show/{name}")
    async def show(self, request: Request, name: str) -> Response:
        return await self.see(request, name)

    @on(GET_POST="/binary/{any}", priority=1)
    async def binary(self, request: Request) -> bytes:
        return await request.body()


@pytest.fixture(scope="module")
def handler() -> Iterator[LambdaHandler]:
    handler = lambda_handler(server(Mirror))
    yield handler
    handler.close()


def check(seen: dict[str, Any], shape: str, sent: dict[str, Any]) -> None:
    """Check what a service has `seen` of the request that was `sent`."""
    path, _, query = sent["target"].partition("?")
    fields = [(name.lower(), value) for name, value in sent["headers"]]
    many = [value for name, value in fields if name == "x-many"]
    plus = " " if shape in ("rest-v1", "http-v1") else "%2B"  # the recorded gateway has decoded it
    assert (seen["method"], seen["path"]) == (sent["method"], unquote(path))
    asked = parse_qsl(query.replace("+", plus), keep_blank_values=True)
    if shape in ("rest-v1", "http-v1"):  # which have no order of names
        asked.sort(key=itemgetter(0))
    assert seen["query"] == [list(pair) for pair in asked]
    assert (seen["many"] or "").replace(", ", ",") == ",".join(many)
    assert seen["type"] == next((value for name, value in fields if name == "content-type"), None)
    if any(name == "cookie" for name, _ in fields):
        assert seen["cookies"] == {"a": "1", "b": "2"}
    assert seen["body"] == sent["body_base64"]


@pytest.mark.parametrize("name", RECORDED)
def test_service_sees_what_was_sent(name: str, handler: LambdaHandler) -> None:
    shape, sent, event = RECORDED[name]
    answer = handler(event, None)
    assert answer["statusCode"] == 201
    assert answer["isBase64Encoded"] is False
    check(json.loads(answer["body"]), shape, sent)
    headers = answer["headers"] | {
        name: values[0] for name, values in answer.get("multiValueHeaders", {}).items()
    }
    assert headers["content-type"] == "application/json"
    assert (headers["x-one"], headers["x-name"]) == ("1", "caf\xe9")
    cookies = answer["cookies"] if "cookies" in answer else answer["multiValueHeaders"]["set-cookie"]
    assert [cookie.partition(";")[0] for cookie in cookies] == ["a=1", "b=2"]
    json.dumps(answer)  # as Lambda does


@pytest.mark.parametrize("name", RECORDED)
def test_responses_to_them_are_streamed(name: str, handler: LambdaHandler) -> None:
    shape, sent, event = RECORDED[name]
    prelude, _, body = b"".join(handler.stream(event, None)).partition(b"\0" * 8)
    head = json.loads(prelude)
    assert (head["statusCode"], head["headers"]["x-one"]) == (201, "1")
    assert [cookie.partition(";")[0] for cookie in head["cookies"]] == ["a=1", "b=2"]
    check(json.loads(body), shape, sent)


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_go_both_ways(shape: str, handler: LambdaHandler) -> None:
    event = json.loads(json.dumps(RECORDED[f"{shape}-binary-body"][2]))
    if "rawPath" in event:
        event["rawPath"] = event["requestContext"]["http"]["path"] = "/binary/x"
    else:
        event["path"] = "/binary/x"
    answer = handler(event, None)
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, True)
    assert base64.b64decode(answer["body"]) == bytes(range(256))


@pytest.mark.parametrize("name", GENERATED)
def test_examples_of_the_tool_are_answered(name: str, handler: LambdaHandler) -> None:
    answer = handler(GENERATED[name], None)
    seen = json.loads(answer["body"])
    assert (answer["statusCode"], seen["method"], seen["path"]) == (201, "POST", "/path/to/resource")
    assert base64.b64decode(seen["body"]) == b'{"test":"body"}'
    asked = {
        "generated-rest-v1": [["foo", "bar"]],
        "generated-http-v2": [["parameter1", "value1"], ["parameter1", "value2"], ["parameter2", "value"]],
        "generated-alb": [["query", "1234ABCD"]],
    }
    assert seen["query"] == asked[name]
