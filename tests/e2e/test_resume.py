"""One cursor on every face: hopping, loss that is told, and clients that do not read, on a real broker."""

import asyncio
import itertools
from contextlib import AsyncExitStack

import httpx
import pytest

from extra.payloads import JSONValue
from tests.conformance.faces.clients import (
    FACES,
    STREAMS,
    WAITING,
    EventStreamFace,
    Fields,
    PollFace,
    ReadFace,
    WebSocketFace,
)
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL_BUFFER_BYTES = 4096
PAYLOAD_BYTES = 64 * 1024


async def publish(http: httpx.AsyncClient, topic: str, count: int, size: int = 10) -> list[int]:
    """Publish so many messages in one request, and return their offsets."""
    batch: list[Fields] = [{"topic": topic, "data": "x" * size} for _ in range(count)]
    response = await http.post("/publish", json=batch)
    assert response.status_code == 201, response.text
    return [receipt["offset"] for receipt in response.json()]


async def test_hopping_from_face_to_face_loses_and_doubles_nothing(daemon: Daemon, topic: str) -> None:
    """WebSocket, event stream, long-poll, read and again, while somebody publishes."""
    published: list[int] = []
    seen: list[JSONValue] = []

    async def publish_on(http: httpx.AsyncClient) -> None:
        for name in itertools.islice(itertools.cycle("abc"), 60):
            published.extend(await publish(http, f"{topic}/{name}", 5))

    async with httpx.AsyncClient(base_url=daemon.url) as http, asyncio.TaskGroup() as tasks:
        start = (await http.get(f"/t/{topic}/*")).json()["cursor"]
        publishing = tasks.create_task(publish_on(http))
        cursor = start
        for face in itertools.cycle(FACES):
            async with face(daemon.port, f"{topic}/#", since=cursor) as subscriber:
                if issubclass(face, ReadFace):
                    while (entry := await subscriber.next()) is not None:
                        seen.append(entry["offset"])
                else:
                    seen += await subscriber.offsets(min(7, 300 - len(seen)))
                cursor = subscriber.cursor
            if len(seen) == 300:
                break
        await publishing
    assert seen == published


async def test_what_is_gone_is_told_on_every_face_and_then_it_goes_on(start: Start) -> None:
    own = start("--retention-messages", "3")
    async with httpx.AsyncClient(base_url=own.url) as http:
        offsets = await publish(http, "a", 10)
        epoch = (await http.get("/t/a")).json()["cursor"].split("-")[0]
        for face in FACES:
            async with face(own.port, "a", since=f"{epoch}-{offsets[0]}") as subscriber:
                gap, *left = await subscriber.take(4)
                assert (gap["after"], gap["until"]) == (offsets[0], offsets[6])
                assert [message["offset"] for message in left] == offsets[7:]


async def test_gone_is_an_answer_with_the_cursor_to_go_on_from(start: Start) -> None:
    own = start("--retention-messages", "2")
    async with httpx.AsyncClient(base_url=own.url) as http:
        offsets = await publish(http, "a", 5)
        cursor = (await http.get("/t/a")).json()["cursor"]
        old = cursor.split("-")[0] + f"-{offsets[0]}"
        for target in (f"/t/a?since={old}", f"/t/a?since={old}&wait=10"):
            gone = await http.get(target)
            assert gone.status_code == 410
            assert gone.headers["Content-Type"] == "application/problem+json"
            assert gone.json()["code"] == "unrecoverable_position"
            assert gone.headers["Extra-Cursor"] == gone.json()["cursor"]
            left = await http.get("/t/a", params={"since": gone.json()["cursor"]})
            assert [message["offset"] for message in left.json()["messages"]] == offsets[3:]
        ahead = await http.get(f"/t/a?since={cursor.split('-')[0]}-{offsets[-1] + 1}")
        assert (ahead.status_code, ahead.json()["code"]) == (400, "invalid_cursor")


# Clients that do not read


async def fill(http: httpx.AsyncClient, topics: list[str], rounds: int = 12) -> list[int]:
    """Publish more than the kernel and an outbox hold for a client that does not read."""
    return [
        offset
        for _ in range(rounds)
        for topic in topics
        for offset in await publish(http, topic, 8, PAYLOAD_BYTES)
    ]


SMALL_OUTBOX = ("--broker-outbox-limit-bytes", str(4 * PAYLOAD_BYTES))


async def test_a_slow_subscriber_is_told_so_and_resumes_with_nothing_lost(start: Start) -> None:
    """`disconnect`: close code 4290 on a WebSocket, and a goodbye with the cursor on each stream."""
    own = start(*SMALL_OUTBOX)
    async with httpx.AsyncClient(base_url=own.url, timeout=30) as http, AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(
                face(own.port, "a", since="now", receive_buffer_bytes=SMALL_BUFFER_BYTES)
            )
            for face in STREAMS
        ]
        offsets = await fill(http, ["a"], rounds=10)
        for subscriber in slow:
            subscriber.widen()
            seen: list[JSONValue] = []
            while (entry := await subscriber.next()) is not None and entry["op"] == "message":
                seen.append(entry["offset"])
            assert entry is not None
            assert (entry["op"], entry["reason"]) == ("goodbye", "slow")
            assert await subscriber.next() is None
            if isinstance(subscriber, WebSocketFace):
                assert subscriber.protocol.close_rcvd is not None
                assert subscriber.protocol.close_rcvd.code == 4290
            async with PollFace(own.port, "a", since=str(entry["cursor"])) as resumed:
                assert seen + await resumed.offsets(len(offsets) - len(seen)) == offsets
        metrics = (await http.get("/metrics")).text
        assert f'extra_goodbyes_total{{reason="slow"}} {len(slow)}\n' in metrics
        assert f"extra_outbox_overflows_total {len(slow)}\n" in metrics


@pytest.mark.parametrize("overflow", ["drop-oldest", "latest"])
async def test_who_chose_to_lose_is_told_what(start: Start, overflow: str) -> None:
    own = start(*SMALL_OUTBOX)
    async with httpx.AsyncClient(base_url=own.url, timeout=30) as http:
        for face in (WebSocketFace, EventStreamFace):
            async with face(
                own.port,
                "a/+",
                since="now",
                overflow=overflow,
                receive_buffer_bytes=SMALL_BUFFER_BYTES,
            ) as slow:
                offsets = await fill(http, ["a/x", "a/y"], rounds=6)
                slow.widen()
                seen: list[int] = []
                dropped = 0
                while not seen or seen[-1] != offsets[-1]:
                    [entry] = await slow.take(1)
                    if entry["op"] == "gap":
                        assert entry["reason"] == "overflow"
                        assert isinstance(entry["dropped"], int)
                        dropped += entry["dropped"]
                    else:
                        assert isinstance(entry["offset"], int)
                        seen.append(entry["offset"])
                assert seen == sorted(set(seen))
                assert dropped == len(offsets) - len(seen) > 0


async def test_one_that_does_not_read_disturbs_nobody(start: Start) -> None:
    own = start(*SMALL_OUTBOX)
    async with httpx.AsyncClient(base_url=own.url, timeout=30) as http, AsyncExitStack() as stack:
        for face in STREAMS:
            await stack.enter_async_context(
                face(own.port, "a", since="now", receive_buffer_bytes=SMALL_BUFFER_BYTES)
            )
        others = [await stack.enter_async_context(face(own.port, "a", since="now")) for face in WAITING]
        for _ in range(8):
            offsets, *received = await asyncio.gather(
                publish(http, "a", 8, PAYLOAD_BYTES), *(other.offsets(8) for other in others)
            )
            assert received == [offsets] * len(others)
