"""The client that needs no sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from extra.http import Request, Response
from extra.services import Service, Services, on
from extra.testing import TestClient


class Mirror(Service):
    @on(POST="/{any}", GET="/{any}")
    async def mirror(self, request: Request, any: str) -> dict[str, object]:
        return {
            "path": any,
            "query": request.query,
            "headers": {name.decode(): value.decode() for name, value in request.headers},
            "body": (await request.body()).decode(),
        }

    @on(GET="/cookie/{value}")
    async def cookie(self, request: Request, value: str) -> Response:
        response = request.json(request.cookies)
        return response.delete_cookie("a") if value == "none" else response.set_cookie("a", value)


async def test_request_is_what_was_asked_for() -> None:
    async with TestClient(Services(Mirror)) as client:
        answer = await client.get("/é b?x=1", query={"y": "a b"}, headers={"X-Y": "z"})
        assert answer.json() == {
            "path": "é b",
            "query": [["x", "1"], ["y", "a b"]],
            "headers": {"host": "testserver", "x-y": "z"},
            "body": "",
        }
        assert (await client.post("/", content="é")).json()["body"] == "é"
        sent = (await client.post("/", json=[1])).json()
        assert (sent["body"], sent["headers"]["content-type"]) == ("[1]", "application/json")
        assert (await client.post("/", form={"a": "b c"})).json()["body"] == "a=b+c"


async def test_cookies_are_kept() -> None:
    async with TestClient(Services(Mirror)) as client:
        assert (await client.get("/cookie/1")).json() == {}
        assert client.cookies == {"a": "1"}
        assert (await client.get("/cookie/none")).json() == {"a": "1"}
        assert client.cookies == {}


async def test_body_may_come_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with TestClient(Services(Mirror)) as client:
        assert (await client.post("/", content=parts())).json()["body"] == "ab"


async def test_body_that_is_not_read_is_let_go_of() -> None:
    seen: list[str] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            seen.append("closed")

    class Impatient(Service):
        @on(POST="/")
        async def take_one(self, request: Request) -> bytes:
            return await anext(request.stream())

    before = asyncio.all_tasks()
    async with TestClient(Services(Impatient)) as client:
        assert (await client.post("/", content=parts())).body == b"a"
    assert seen == ["closed"]
    assert asyncio.all_tasks() == before


async def test_bug_of_middleware_is_the_test_s_to_see() -> None:
    async def fail(request: Request, following: object) -> Response:
        raise ZeroDivisionError

    async with TestClient(Services(Mirror, middleware=[fail])) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/")
