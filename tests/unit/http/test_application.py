"""Handlers, middleware and errors together."""

import json
from collections.abc import Sequence

import pytest

from extra.errors import ExtraError, InvalidTopic
from extra.http import Application, Handler, Middleware, NotFound, Request, Response, problem


async def fail(request: Request) -> Response:
    raise InvalidTopic("no topic")


async def answer(request: Request) -> Response:
    return Response(200, b"answer")


def table(error: Exception) -> Response:
    return problem(400, error.code if isinstance(error, ExtraError) else "internal", str(error))


def marking(name: str, seen: list[str]) -> Middleware:
    async def mark(request: Request, handler: Handler) -> Response:
        seen.append(f"{name} in")
        response = await handler(request)
        seen.append(f"{name} out {response.status}")
        response.headers = [*response.headers, ("X", name)]
        return response

    return mark


async def serve(handler: Handler, middleware: Sequence[Middleware] = ()) -> Response:
    return await Application(handler, middleware=middleware, error_response=table)(Request("GET", b"/"))


async def test_error_of_the_handler_becomes_a_response() -> None:
    response = await serve(fail)
    assert response.status == 400
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["code"] == "invalid_topic"


async def test_errors_that_say_their_status_need_no_table() -> None:
    async def lose(request: Request) -> Response:
        raise NotFound("no such resource")

    assert (await Application(lose)(Request("GET", b"/"))).status == 404


async def test_first_middleware_is_the_outermost() -> None:
    seen: list[str] = []
    response = await serve(answer, [marking("a", seen), marking("b", seen)])
    assert seen == ["a in", "b in", "b out 200", "a out 200"]
    assert response.headers == [("X", "b"), ("X", "a")]


async def test_middleware_sees_errors_as_responses() -> None:
    seen: list[str] = []
    response = await serve(fail, [marking("a", seen)])
    assert seen == ["a in", "a out 400"]
    assert ("X", "a") in response.headers


async def test_middleware_may_answer_itself_or_fail() -> None:
    seen: list[str] = []

    async def refuse(request: Request, handler: Handler) -> Response:
        raise NotFound("not for you")

    response = await serve(answer, [marking("a", seen), refuse])
    assert (response.status, seen) == (400, ["a in", "a out 400"])


async def test_bug_goes_through_to_the_server() -> None:
    async def break_down(request: Request) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await serve(break_down, [marking("a", [])])


async def test_what_is_answered_at_once_is_so_without_a_coroutine() -> None:
    def answer_at_once(request: Request) -> Response | None:
        if request.path == "/bad":
            raise InvalidTopic("no topic")
        return Response(200, b"at once") if request.path == "/now" else None

    application = Application(answer, error_response=table, at_once=answer_at_once)
    answers = [application.at_once(Request("GET", target)) for target in (b"/now", b"/bad", b"/later")]
    assert [each and (each.status, each.body[:7]) for each in answers] == [  # type: ignore[index]  # bytes
        (200, b"at once"),
        (400, b'{"type"'),
        None,
    ]
    assert Application(answer).at_once(Request("GET", b"/now")) is None
