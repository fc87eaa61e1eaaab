"""Every row of the HTTP table of docs/protocol.md, with httpx, and with aiohttp as another long-poller."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import httpx
import msgpack
import pytest

from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.e2e


@pytest.fixture
async def http(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as client:
        yield client


def offsets(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [message["offset"] for message in response.json()["messages"]]


async def test_every_response_says_that_its_type_is_not_to_be_guessed(
    http: httpx.AsyncClient, topic: str
) -> None:
    for method, path in (("PUT", f"/t/{topic}"), ("GET", f"/t/{topic}"), ("GET", "/"), ("GET", "/none")):
        response = await http.request(method, path, content=b"<script>")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# Publishing


async def test_posting_publishes(http: httpx.AsyncClient, topic: str) -> None:
    response = await http.post(f"/t/{topic}", json={"n": 1})
    assert response.status_code == 201
    receipt = response.json()
    assert set(receipt) == {"topic", "offset", "cursor", "subscribers"}
    assert response.headers["Extra-Cursor"] == receipt["cursor"]
    assert receipt["cursor"].endswith(f"-{receipt['offset']}")


async def test_putting_retains_and_so_does_the_parameter(http: httpx.AsyncClient, topic: str) -> None:
    await http.put(f"/t/{topic}/a", content=b"1")
    await http.post(f"/t/{topic}/b?retain=1", content=b"2")
    await http.post(f"/t/{topic}/c", content=b"3")
    page = (await http.get(f"/t/{topic}/*?since=now")).json()
    assert [(message["data"], message["retained"]) for message in page["messages"]] == [(1, True), (2, True)]


async def test_deleting_clears(http: httpx.AsyncClient, topic: str) -> None:
    await http.put(f"/t/{topic}", content=b"1")
    assert (await http.delete(f"/t/{topic}")).status_code == 204
    assert offsets(await http.get(f"/t/{topic}?since=now")) == []
    assert len(offsets(await http.get(f"/t/{topic}"))) == 1


@pytest.mark.slow
async def test_what_has_expired_is_given_to_nobody(http: httpx.AsyncClient, topic: str) -> None:
    before = time.time()
    await http.put(f"/t/{topic}?ttl=0.4", content=b"1")
    await http.post(f"/t/{topic}", content=b"2", headers={"Extra-TTL": "60"})
    first, second = (await http.get(f"/t/{topic}")).json()["messages"]
    assert before < first["expires_at"] < time.time() + 0.4
    assert before + 59 < second["expires_at"] < time.time() + 60
    await asyncio.sleep(max(first["expires_at"] - time.time(), 0))
    assert [message["data"] for message in (await http.get(f"/t/{topic}")).json()["messages"]] == [2]
    assert offsets(await http.get(f"/t/{topic}?since=now")) == []


async def test_a_key_publishes_once(http: httpx.AsyncClient, topic: str) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await http.post(f"/t/{topic}", content=b"1", headers=headers)
    again = await http.post(f"/t/{topic}?key=k", content=b"2")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(offsets(await http.get(f"/t/{topic}"))) == 1


async def test_a_batch_answers_for_each(http: httpx.AsyncClient, topic: str) -> None:
    response = await http.post("/publish", json=[{"topic": topic, "data": 1}, {"topic": "a/#", "data": 2}])
    assert response.status_code == 207
    receipt, refused = response.json()
    assert receipt["topic"] == topic
    assert refused["error"]["code"] == "invalid_topic"


# Reading


async def test_a_read_is_paged(http: httpx.AsyncClient, topic: str) -> None:
    published = [(await http.post(f"/t/{topic}", content=b"1")).json()["offset"] for _ in range(5)]
    read: list[int] = []
    since, more = "start", True
    while more:
        response = await http.get(f"/t/{topic}", params={"limit": 2, "since": since})
        read += offsets(response)
        since, more = response.json()["cursor"], response.json()["more"]
        assert response.headers["Extra-Cursor"] == since
    assert read == published


async def test_several_filters_in_one_read(http: httpx.AsyncClient, topic: str) -> None:
    published = [
        (await http.post(f"/t/{topic}/{name}", content=b"1")).json()["offset"] for name in ("a", "b", "c")
    ]
    assert offsets(await http.get(f"/poll?topic={topic}/c&topic={topic}/a")) == [published[0], published[2]]
    assert offsets(await http.get("/poll", params={"topic": f"{topic}/#"})) == published
    assert offsets(await http.get(f"/t/{topic}/%23")) == published
    assert offsets(await http.get(f"/t/{topic}/**")) == published


async def test_the_client_chooses_the_form(http: httpx.AsyncClient, topic: str) -> None:
    await http.post(f"/t/{topic}", json={"n": 1})
    await http.post(f"/t/{topic}", content=b"\xff\xfe", headers={"Content-Type": "image/png"})
    page = (await http.get(f"/t/{topic}")).json()
    lines = await http.get(f"/t/{topic}", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == page["messages"]
    assert (lines.headers["Extra-Cursor"], lines.headers["Extra-More"]) == (page["cursor"], "false")
    packed = await http.get(f"/t/{topic}", headers={"Accept": "application/msgpack"})
    unpacked = msgpack.unpackb(packed.content)
    assert unpacked["messages"][0] == page["messages"][0]
    assert unpacked["messages"][1]["data"] == b"\xff\xfe"
    assert (await http.get(f"/t/{topic}", headers={"Accept": "text/html"})).status_code == 406


async def test_last_event_id_wins(http: httpx.AsyncClient, topic: str) -> None:
    first = (await http.post(f"/t/{topic}", content=b"1")).json()
    second = (await http.post(f"/t/{topic}", content=b"2")).json()
    response = await http.get(f"/t/{topic}?since=start", headers={"Last-Event-ID": first["cursor"]})
    assert offsets(response) == [second["offset"]]


# Long-polls


async def test_httpx_polls(http: httpx.AsyncClient, daemon: Daemon, topic: str) -> None:
    received: list[int] = []

    async def poll() -> None:
        params = {"since": "now", "wait": "20"}
        params["since"] = (await http.get(f"/t/{topic}?since=now")).json()["cursor"]
        ready.set()
        while len(received) < 20:
            response = await http.get(f"/t/{topic}", params=params)
            received.extend(message["data"] for message in response.json()["messages"])
            params["since"] = response.headers["Extra-Cursor"]

    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(base_url=daemon.url) as publisher:
        tasks.create_task(poll())
        await ready.wait()
        for number in range(20):
            await publisher.post(f"/t/{topic}", json=number)
    assert received == list(range(20))


async def test_aiohttp_polls(daemon: Daemon, topic: str) -> None:
    received: list[int] = []
    timeout = aiohttp.ClientTimeout(20)
    async with aiohttp.ClientSession(daemon.url, timeout=timeout) as http:

        async def poll(cursor: str) -> None:
            while len(received) < 20:
                async with http.get(
                    "/poll", params={"topic": f"{topic}/#", "since": cursor, "wait": "20"}
                ) as response:
                    page = await response.json()
                received.extend(message["data"] for message in page["messages"])
                cursor = page["cursor"]

        async with http.get(f"/t/{topic}/**", params={"since": "now"}) as response:
            cursor = response.headers["Extra-Cursor"]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poll(cursor))
            for number in range(20):
                async with http.post(f"/t/{topic}/{number}", json=number) as response:
                    assert response.status == 201
    assert received == list(range(20))


@pytest.mark.slow
async def test_a_poll_that_ends_with_nothing_has_the_cursor(http: httpx.AsyncClient, topic: str) -> None:
    began = time.monotonic()
    response = await http.get(f"/t/{topic}?wait=1&since=now")
    assert 1 <= time.monotonic() - began < 5
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Extra-Cursor"]


# The rest of the table


async def test_operators_ask(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).text == "ok\n"
    assert (await http.get("/readyz")).text == "ready\n"
    assert "extra_messages_published_total" in (await http.get("/metrics")).text
    page = await http.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/t/a", 405, "method_not_allowed"),
        ("GET", "/publish", 405, "method_not_allowed"),
        ("POST", "/t/a/+", 400, "invalid_topic"),
        ("POST", "/t/a/**", 400, "invalid_topic"),
        ("POST", "/t/$broker", 400, "invalid_topic"),
        ("GET", "/t/a/%23/b", 400, "invalid_filter"),
        ("GET", "/t/a?since=x", 400, "invalid_cursor"),
        ("GET", "/t/a?limit=0", 400, "invalid_command"),
        ("GET", "/t/a?wait=61", 400, "invalid_command"),
        ("GET", "/poll", 400, "invalid_command"),
        ("GET", "/t/%FF", 400, "remote_protocol_error"),
        ("GET", "/ws", 426, "remote_protocol_error"),
        ("POST", "/publish", 400, "invalid_command"),
    ],
)
async def test_every_error_is_a_problem_document(
    http: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """RFC 9457."""
    response = await http.request(method, path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["status"], problem["code"]) == (
        f"urn:extra:error:{code}",
        status,
        code,
    )
    assert problem["detail"]
    assert problem["title"] == response.reason_phrase
    if status == 405:
        assert "OPTIONS" in response.headers["Allow"]


async def test_a_query_takes_what_it_knows_in_any_order(http: httpx.AsyncClient, topic: str) -> None:
    assert offsets(await http.get(f"/poll?unknown=1&limit=5&topic={topic}&since=start&x")) == []
