"""Who is here, on every face of a real broker."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from extra.client import Client
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_ends import pushes
from tests.e2e.test_streams import stream

pytestmark = pytest.mark.e2e


async def present(http: httpx.AsyncClient, topic: str, query: str = "") -> dict[str, Any]:
    answer = await http.get(f"/presence/{topic}{query}")
    assert answer.status_code == 200
    page: dict[str, Any] = answer.json()
    assert answer.headers["Extra-Cursor"] == page["cursor"]
    return page


async def test_each_face_is_present_and_seen_by_each(daemon: Daemon, topic: str) -> None:
    url = daemon.url.replace("http", "ws") + "/ws"
    async with (
        httpx.AsyncClient(base_url=daemon.url, timeout=20) as http,
        stream(daemon.url, f"/t/%24presence/{topic}/*") as watcher,
        Client(daemon.url) as client,
    ):
        await anext(watcher)

        async def told() -> tuple[str, str, int]:
            async with asyncio.timeout(10):
                data = json.loads((await anext(watcher))["data"])["data"]
            return data["event"], data["member"], data["count"]

        async with connect(url) as socket:
            await pushes(socket, "welcome")
            subscribe = {
                "op": "subscribe",
                "filter": f"{topic}/a",
                "presence": {"name": "Ada"},
                "member": "ws",
            }
            await socket.send(json.dumps(subscribe))
            await pushes(socket, "subscribed")
            assert await told() == ("join", "ws", 1)
            async with stream(daemon.url, f"/t/{topic}/a?presence=17&member=sse") as events:
                await anext(events)
                assert await told() == ("join", "sse", 2)
                await http.get(f"/t/{topic}/a?presence=true&member=poll")
                assert await told() == ("join", "poll", 3)
                async with client.subscribe(f"{topic}/a", presence=[1], member="py"):
                    assert await told() == ("join", "py", 4)
                    [place] = (await present(http, f"{topic}/a"))["places"]
                    shown = {each["member"]: each["data"] for each in place["members"]}
                    assert shown == {"ws": {"name": "Ada"}, "sse": 17, "poll": None, "py": [1]}
                    far = await client.present(f"{topic}/#")
                    assert {each.id: each.data for each in far.places[0].members} == shown
                    counts = await present(http, f"{topic}/**", "?count=1")
                    assert (counts["count"], counts["places"]) == (4, [{"topic": f"{topic}/a", "count": 4}])
                assert await told() == ("leave", "py", 3)
            await socket.send(json.dumps(subscribe | {"presence": {"name": "Ada L."}}))
            await pushes(socket, "subscribed")
            assert await told() == ("update", "ws", 3)
            await socket.send(json.dumps({"op": "unsubscribe", "filter": f"{topic}/a"}))
            assert await told() == ("leave", "ws", 2)


async def test_who_is_lost_leaves_after_the_grace_time(start: Start) -> None:
    daemon = start("--broker-presence-grace-s", "1")
    url = daemon.url.replace("http", "ws") + "/t/a?presence=true&member="
    async with Client(daemon.url) as client, client.subscribe("$presence/a") as events:
        for code, member in ((1000, "gone"), (1001, "reloaded")):
            async with connect(f"{url}{member}") as socket:
                await pushes(socket, "welcome", "subscribed")
                await socket.close(code)
        async with connect(f"{url}reloaded") as socket:
            await pushes(socket, "welcome", "subscribed")
            found = [(await anext(events)).data for _ in range(3)]
            assert [(each["event"], each["member"]) for each in found] == [  # type: ignore[index,call-overload]
                ("join", "gone"),
                ("leave", "gone"),
                ("join", "reloaded"),
            ]
            await socket.close(1001)
        async with asyncio.timeout(10):
            last = (await anext(events)).data
        assert last == {"event": "leave", "member": "reloaded", "count": 0}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/t/a?presence={", 400),
        ("/t/a?presence=true", 400),
        ("/t/a?member=m", 400),
        ("/t/a/*?presence=true&member=m", 400),
        ("/t/a?presence=true&member=", 400),
        (f"/t/a?member=m&presence=%22{'x' * 2000}%22", 413),
        ("/presence/a?limit=0", 400),
        ("/presence/a/**/b", 400),
        ("/presence", 400),
    ],
)
async def test_bad_input_has_its_answer(daemon: Daemon, target: str, status: int) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.get(target)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_with_a_store_presence_is_told_as_well(start: Start, tmp_path: Any) -> None:
    daemon = start("--store", str(tmp_path / "store.db"))
    async with Client(daemon.url) as client, client.subscribe("$presence/#") as events:
        async with client.subscribe("a", presence=True, member="m"):
            assert (await anext(events)).data == {"event": "join", "member": "m", "count": 1, "data": None}
        assert (await anext(events)).data == {"event": "leave", "member": "m", "count": 0}
