"""Methods as handlers of requests: what they get, what they return, and how they fail."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from extra.errors import Forbidden, InvalidTopic, LocalProtocolError
from extra.http import Found, Request, Response
from extra.services import Service, ServiceLimits, Services, expose, on, post, pre, when
from extra.testing import Answer, TestClient


async def get(service: type[Service], path: str, **options: Any) -> Answer:
    async with TestClient(Services(service)) as client:
        return await client.get(path, **options)


def returning(make: Callable[[], object], **options: Any) -> type[Service]:
    """Return a service that answers GET / with what `make` returns."""

    class Returning(Service):
        @on(GET="/", **options)
        async def answer(self) -> object:
            return make()

    return Returning


async def parts(*items: object) -> AsyncIterator[object]:
    for item in items:
        yield item


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        (Response(201, b"x", content_type="text/x"), 201, "text/x", b"x"),
        (None, 204, None, b""),
        (b"x", 200, "application/octet-stream", b"x"),
        ("é", 200, "text/plain; charset=utf-8", "é".encode()),
        ({"a": [1]}, 200, "application/json", b'{"a":[1]}'),
        (0, 200, "application/json", b"0"),
        (False, 200, "application/json", b"false"),
    ],
)
async def test_value_becomes_a_response(
    value: object, status: int, content_type: str | None, body: bytes
) -> None:
    answer = await get(returning(lambda: value), "/")
    assert (answer.status, answer.header("content-type"), answer.body) == (status, content_type, body)


async def test_iterators_come_in_parts() -> None:
    for items, content_type, body in (
        (("a", "b"), "text/plain; charset=utf-8", b"ab"),
        ((b"a",), "application/octet-stream", b"a"),
        (({"n": 1}, {"n": 2}), "application/x-ndjson", b'{"n":1}\n{"n":2}\n'),
        ((), None, b""),
    ):
        for make in (lambda items=items: parts(*items), lambda items=items: iter(items)):  # bound
            answer = await get(returning(make), "/")
            assert (answer.status, answer.header("content-type"), answer.body) == (200, content_type, body)


async def test_generators_are_methods_too() -> None:
    class Counting(Service):
        @on(GET="/async/{n:int}")
        async def count(self, n: int) -> AsyncIterator[str]:
            for number in range(n):
                yield f"{number} "

        @on(GET="/sync/{n:int}")
        def count_in_a_thread(self, n: int) -> Iterator[str]:
            for number in range(n):
                yield f"{number} "

    for path in ("/async/3", "/sync/3"):
        assert (await get(Counting, path)).body == b"0 1 2 "


async def test_stream_is_closed_when_the_client_leaves_it() -> None:
    seen: list[str] = []

    class Endless(Service):
        @on(GET="/")
        async def tick(self) -> AsyncIterator[str]:
            try:
                while True:
                    yield "tick"
            finally:
                seen.append("closed")

    async with TestClient(Services(Endless)) as client:
        async with client.stream("GET", "/") as answer:
            async for part in answer.parts():
                assert part == b"tick"
                break
        assert seen == ["closed"]
        assert (await client.request("HEAD", "/")).status == 200
        assert seen == ["closed", "closed"]


async def test_plain_methods_run_in_a_thread_unless_they_are_quick() -> None:
    main = threading.current_thread()

    class Plain(Service):
        @on(GET="/slow")
        def slow(self) -> bool:
            return threading.current_thread() is main

        @on(GET="/quick", quick=True)
        def quick(self) -> bool:
            return threading.current_thread() is main

    assert (await get(Plain, "/slow")).json() is False
    assert (await get(Plain, "/quick")).json() is True


async def test_exposed_method_is_a_json_api() -> None:
    class Sums(Service):
        @expose(GET=["/api/add/{a}/{b}", "/api/add"], POST="/api/add")
        def add(self, a: int, b: int) -> int:
            return a + b

        @expose(GET="/api/nothing")
        async def nothing(self) -> None: ...

        @expose(GET="/api/text")
        async def text(self) -> str:
            return "x"

    async with TestClient(Services(Sums)) as client:
        assert (await client.get("/api/add/1/2")).json() == 3
        assert (await client.post("/api/add", json={"a": 1, "b": 2})).json() == 3
        assert (await client.post("/api/add", form={"a": "1", "b": "2"})).json() == 3
        assert (await client.post("/api/add", query={"a": "1"}, json={"b": 2})).json() == 3
        assert (await client.get("/api/nothing")).body == b"null"
        assert (await client.get("/api/text")).body == b'"x"'
        assert (await client.get("/api/add", query={"a": "1", "b": "2"})).json() == 3
        lacking = await client.get("/api/add", query={"a": "1"})
        refused = await client.post("/api/add", json={"a": "1"})
    assert lacking.json()["errors"] == [{"field": "b", "in": "query", "message": "is missing"}]
    assert refused.status == 400
    assert refused.header("content-type") == "application/problem+json"
    assert refused.json()["code"] == "invalid_arguments"
    assert refused.json()["errors"] == [
        {"field": "a", "in": "body", "message": "expected `int`, got `str`"},
        {"field": "b", "in": "body", "message": "is missing"},
    ]


async def test_steps_stand_around_a_method() -> None:
    seen: list[str] = []

    def check(request: Request) -> object:
        seen.append("check")
        return {"refused": True} if request.query_value("no") else None

    async def look(self: "Guarded", request: Request) -> None:
        seen.append(f"look {self.label}")
        if request.query_value("forbidden"):
            raise Forbidden("no")

    def mark(request: Request, response: Response) -> None:
        response.add_header("X-Mark", "1")

    async def replace(request: Request, response: Response) -> object:
        return b"replaced" if request.query_value("replace") else None

    class Guarded(Service):
        label = "guarded"

        @on(GET="/")
        @pre(check, look)
        @post(mark, replace)
        async def answer(self) -> bytes:
            return b"answer"

    async with TestClient(Services(Guarded)) as client:
        answer = await client.get("/")
        assert (answer.body, answer.header("x-mark"), seen) == (b"answer", "1", ["check", "look guarded"])
        assert (await client.get("/?no=1")).json() == {"refused": True}
        assert (await client.get("/?forbidden=1")).status == 403
        assert (await client.get("/?replace=1")).body == b"replaced"


async def test_conditions_choose_between_methods() -> None:
    class Versions(Service):
        @on(GET="/")
        @when(lambda request: request.header("x-version") == "2")
        async def second(self) -> str:
            return "2"

        @on(GET="/")
        async def first(self) -> str:
            return "1"

    assert (await get(Versions, "/")).text == "1"
    assert (await get(Versions, "/", headers={"X-Version": "2"})).text == "2"


@pytest.mark.parametrize(
    ("error", "status"), [(Found("/x"), 302), (Forbidden("x"), 403), (InvalidTopic("x"), 400)]
)
async def test_errors_of_ours_are_responses(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> object:
        raise error

    assert (await get(returning(fail), "/")).status == status
    assert caplog.records == []


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), LocalProtocolError("x"), TimeoutError()])
async def test_bug_is_logged_with_its_route_and_told_to_nobody(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> object:
        raise error

    answer = await get(returning(fail), "/")
    assert answer.status == 500
    assert b"secret" not in answer.body
    [record] = caplog.records
    assert "GET / (" in record.getMessage()
    assert "Returning.answer) has failed" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_wrong_type_is_a_bug_that_names_the_route(caplog: pytest.LogCaptureFixture) -> None:
    assert (await get(returning(object), "/")).status == 500
    assert "has returned object, which is no response" in caplog.text


async def test_what_fails_before_the_first_part_has_its_status() -> None:
    class Broken(Service):
        @on(GET="/")
        async def answer(self) -> AsyncIterator[bytes]:
            raise Found("/x")
            yield b""

    assert (await get(Broken, "/")).status == 302


async def test_method_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    class Hanging(Service):
        @on(GET="/", timeout_s=0.001)
        async def hang(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

        @on(POST="/", timeout_s=0.001)
        async def read(self, request: Request) -> None:
            await request.body()

        @on(PUT="/")
        async def usual(self) -> None:
            await asyncio.Event().wait()

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with TestClient(Services(Hanging, limits=ServiceLimits(timeout_s=0.001))) as client:
        answer = await client.get("/")
        assert (answer.status, answer.json()["code"], seen) == (503, "timed_out", ["cancelled"])
        assert answer.header("retry-after") == "1"
        assert (await client.request("PUT", "/")).status == 503
        assert (await client.post("/", content=nothing())).status == 408
    assert "GET / (" in caplog.records[0].getMessage()
    assert "no answer within timeout_s=0.001" in caplog.records[0].getMessage()


async def test_method_whose_client_leaves_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen: list[str] = []
    begun = asyncio.Event()

    class Waiting(Service):
        @on(GET="/")
        async def wait(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

    before = asyncio.all_tasks()
    async with TestClient(Services(Waiting)) as client:
        task = asyncio.create_task(client.get("/"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == ["cancelled"]
    assert "Waiting.wait): cancelled" in caplog.text
    assert asyncio.all_tasks() == before


async def test_problem_documents_are_json() -> None:
    answer = await get(returning(lambda: None), "/nowhere")
    assert json.loads(answer.body)["code"] == "not_found"
