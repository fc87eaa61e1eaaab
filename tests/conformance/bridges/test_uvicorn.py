"""Services under uvicorn, with clients that we did not write."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from extra import Request, Service, on, server
from tests.conformance.bridges.serving import under_uvicorn
from tests.fakes.asgi import until


class Hello(Service):
    def __init__(self) -> None:
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    @on(GET="{any}")
    def hello(self, request: Request, any: str) -> object:
        return request.respond(b"Hello, World !", b"text/plain")

    @on(POST="/size")
    async def size(self, request: Request) -> int:
        size = 0
        async for part in request.stream():
            size += len(part)
        return size

    @on(GET="/endless")
    async def endless(self) -> AsyncIterator[str]:
        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0)
        finally:
            self.events.append("closed")

    @on(GET="/wait")
    async def wait(self) -> None:
        self.events.append("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")


async def test_services_answer_under_uvicorn() -> None:
    service = Hello()
    async with (
        under_uvicorn(server(service)) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        answer = await client.get("/anything/at/all")
        assert (answer.text, answer.headers["content-type"]) == ("Hello, World !", "text/plain")
        assert (await client.post("/x")).status_code == 405

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 10_000

        assert (await client.post("/size", content=parts())).json() == 500_000
        head = await client.head("/")
        assert (head.text, head.headers["content-length"]) == ("", "14")
    assert service.events == ["start", "stop"]


async def test_work_ends_with_its_client() -> None:
    service = Hello()
    async with (
        under_uvicorn(server(service)) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        async with client.stream("GET", "/endless") as answer:
            assert await anext(answer.aiter_lines()) == "tick"
        await until(lambda: "closed" in service.events)
        waiting = asyncio.create_task(client.get("/wait"))
        await until(lambda: "waiting" in service.events)
        waiting.cancel()
        await until(lambda: "cancelled" in service.events)
    assert service.events == ["start", "closed", "waiting", "cancelled", "stop"]


async def test_streams_end_when_the_host_shuts_down() -> None:
    service = Hello()
    application = server(service)
    async with (
        under_uvicorn(application) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
        client.stream("GET", "/endless") as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "tick"
        application.drain()  # what the signal that ends uvicorn brings about
        assert {line async for line in lines} == {"tick"}
