"""Server-Sent Events of a real broker, with httpx and aiohttp, read line by line."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.e2e

WAIT_S = 10.0
Block = dict[str, str]


@asynccontextmanager
async def stream(
    url: str, target: str, headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[Block]]:
    """Yield the blocks of an event stream, comments under an empty name."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=WAIT_S) as http,
        http.stream("GET", target, headers={"Accept": "text/event-stream", **(headers or {})}) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        yield blocks(response.aiter_lines())


async def blocks(lines: AsyncIterator[str]) -> AsyncIterator[Block]:
    block: Block = {}
    async for line in lines:
        if line:
            name, _, text = line.partition(":")
            block[name] = f"{block[name]}\n{text[1:]}" if name in block else text.removeprefix(" ")
        else:
            yield block
            block = {}


def data_of(block: Block) -> Any:  # Any: what JSON held
    return json.loads(block["data"])


async def publish(url: str, topic: str, data: object) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url) as http:
        response = await http.post(f"/t/{topic}", json=data)
        assert response.status_code == 201
        receipt: dict[str, Any] = response.json()
        return receipt


@pytest.mark.parametrize("target", ["/t/{topic}/*", "/sse?topic={topic}/%2B", "/sse?topic={topic}/a&topic=x"])
async def test_events_come_as_they_are_published(daemon: Daemon, topic: str, target: str) -> None:
    async with stream(daemon.url, target.format(topic=topic)) as events:
        first = await anext(events)
        assert first["retry"] == "2000"
        assert set(first) == {"retry", "id"}
        for number in range(3):
            receipt = await publish(daemon.url, f"{topic}/a", number)
            assert receipt["subscribers"] == 1
            event = await anext(events)
            assert set(event) == {"id", "data"}
            assert event["id"] == receipt["cursor"]
            assert data_of(event) == {
                "op": "message",
                "topic": f"{topic}/a",
                "offset": receipt["offset"],
                "data": number,
            }


async def test_last_event_id_resumes_with_nothing_lost(daemon: Daemon, topic: str) -> None:
    async with stream(daemon.url, f"/t/{topic}") as events:
        cursor = (await anext(events))["id"]
    published = [(await publish(daemon.url, topic, number))["offset"] for number in range(5)]
    seen: list[int] = []
    while len(seen) < 5:
        async with stream(daemon.url, f"/t/{topic}?since=start", {"Last-Event-ID": cursor}) as events:
            assert (await anext(events))["id"] == cursor
            for _ in range(2):
                if len(seen) < 5:
                    event = await anext(events)
                    seen.append(data_of(event)["offset"])
                    cursor = event["id"]
    assert seen == published


async def test_a_gap_is_an_event(start: Start) -> None:
    own = start("--retention-messages", "2")
    receipts = [await publish(own.url, "a", number) for number in range(4)]
    async with stream(own.url, "/t/a", {"Last-Event-ID": receipts[0]["cursor"]}) as events:
        await anext(events)
        gap = await anext(events)
        assert gap["event"] == "gap"
        assert gap["id"] == f"{receipts[0]['cursor']}-{receipts[1]['offset']}"
        offset = receipts[0]["offset"]
        assert data_of(gap) == {
            "op": "gap",
            "filter": "a",
            "after": offset,
            "until": offset + 1,
            "reason": "evicted",
        }
        assert [data_of(await anext(events))["data"] for _ in range(2)] == [2, 3]


async def test_raw_events_are_the_payload(daemon: Daemon, topic: str) -> None:
    async with stream(daemon.url, f"/t/{topic}?format=raw") as events, httpx.AsyncClient() as http:
        await anext(events)
        for body, data in ((b'{"a":\n1}', '{"a":\n1}'), ("é\n".encode(), "é\n"), (b"\xff", "/w==")):
            await http.post(f"{daemon.url}/t/{topic}", content=body)
            assert (await anext(events))["data"] == data


@pytest.mark.slow
async def test_a_comment_breaks_the_silence(start: Start) -> None:
    own = start("--sse-heartbeat-s", "1")
    async with stream(own.url, "/t/a") as events:
        await anext(events)
        assert await anext(events) == {"": ""}


async def test_aiohttp_streams_too(daemon: Daemon, topic: str) -> None:
    async with (
        aiohttp.ClientSession(daemon.url, timeout=aiohttp.ClientTimeout(WAIT_S)) as http,
        http.get("/sse", params={"topic": topic}) as response,
    ):
        assert (await response.content.readline()).startswith(b"retry: ")
        await publish(daemon.url, topic, "x")
        text = b""
        while not text.endswith(b'"data":"x"}\n\n'):
            text += await response.content.readany()


async def test_who_goes_is_forgotten(daemon: Daemon, topic: str) -> None:
    async with stream(daemon.url, f"/t/{topic}") as events:
        await anext(events)
        assert (await publish(daemon.url, topic, 1))["subscribers"] == 1
    async with asyncio.timeout(WAIT_S):
        while (await publish(daemon.url, topic, 1))["subscribers"]:
            pass


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/sse", "invalid_command"),
        ("/sse?topic=a%23", "invalid_filter"),
        ("/t/a?since=later", "invalid_cursor"),
        ("/t/a?overflow=block", "invalid_command"),
        ("/t/a?format=xml", "invalid_command"),
    ],
)
async def test_what_is_wrong_is_answered_with_a_problem(daemon: Daemon, target: str, code: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        response = await http.get(target, headers={"Accept": "text/event-stream"})
    assert (response.status_code, response.json()["code"]) == (400, code)
