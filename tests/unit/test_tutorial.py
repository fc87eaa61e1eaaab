"""docs/tutorial.md: each step is a file that runs, and the page shows it as it is."""

import asyncio
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from extra.testing import FakeClock, TestClient

ROOT = Path(__file__).resolve().parents[2]
STEPS = sorted((ROOT / "examples" / "tutorial").glob("step*.py"))
PAGE = (ROOT / "docs" / "tutorial.md").read_text()


def client_of(step: str) -> TestClient:
    """Return a client of the application of a step, made anew."""
    name = f"examples.tutorial.{step}"
    sys.modules.pop(name, None)
    return TestClient(import_module(name).app)


def test_page_shows_each_step_as_it_is() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    files = [path.read_text() for path in STEPS]
    assert len(files) == 10
    assert [block for block in shown if block in files] == files


async def test_hello() -> None:
    async with client_of("step01_hello") as client:
        assert (await client.get("/")).text == "Hello, World !"


async def test_paths() -> None:
    async with client_of("step02_paths") as client:
        assert (await client.get("/rooms/7")).json() == {"room": 7}
        assert (await client.get("/rooms/x")).status == 404
        assert (await client.get("/add/1/2?times=3")).json() == 9
        assert (await client.get("/add/1/x")).json()["errors"][0]["field"] == "b"


async def test_bodies() -> None:
    async with client_of("step03_bodies") as client:
        assert (await client.post("/rooms/1", json={"text": "a"})).json() == {"count": 1}
        assert (await client.get("/rooms/1")).json() == ["a"]
        assert (await client.post("/rooms/1", json=[])).status == 400


async def test_topics() -> None:
    async with client_of("step04_topics") as client:
        assert (await client.post("/rooms/1", json={"text": "a"})).json() == {"offset": 1}
        page = (await client.get("/rooms/1")).json()
        assert page["said"] == [{"text": "a"}]
        await client.post("/rooms/1", json={"text": "b"})
        assert (await client.get("/rooms/1", query={"since": page["cursor"]})).json()["said"] == [
            {"text": "b"}
        ]


async def test_streams() -> None:
    async with client_of("step05_streams") as client:
        async with client.events("/rooms/1/events") as events:
            waiting = asyncio.ensure_future(events.receive_json())
            await asyncio.sleep(0)
            await client.post("/rooms/1", json={"text": "a"})
            assert await waiting == {"text": "a"}
        await client.post("/rooms/1", json={"text": "b"})
        async with client.events("/rooms/1/events", last_event_id=events.last_event_id) as events:
            assert await events.receive_json() == {"text": "b"}


async def test_reactions() -> None:
    clock = FakeClock()
    with clock.driving():
        async with client_of("step06_reactions") as client, client.broker.subscribe("counts") as counts:
            await client.post("/rooms/1", json={"text": "a"})
            await clock.elapse(6)
            assert (await anext(counts)).data == {"1": 1}
            assert (await client.get("/rooms/1/count")).json() == 1


async def test_sockets() -> None:
    async with client_of("step07_sockets") as client:
        async with client.websocket("/rooms/1/talk") as ann, client.websocket("/rooms/1/talk") as bob:
            await ann.send("hello")
            assert await ann.receive_json() == {"text": "hello"}
            assert await bob.receive_json() == {"text": "hello"}
        async with client.websocket("/rooms/1/talk") as late:
            assert await late.receive_json() == {"text": "hello"}


async def here(client: TestClient, clock: FakeClock) -> Any:
    """Return who is in room 1 when some time has passed."""
    await clock.elapse(60)
    return (await client.get("/rooms/1/here")).json()


async def test_presence() -> None:
    clock = FakeClock()
    with clock.driving():
        async with client_of("step08_presence") as client, client.websocket("/rooms/1/talk?name=ann"):
            assert await here(client, clock) == [{"name": "ann"}]
            async with client.websocket("/rooms/1/talk?name=bob") as bob:
                assert len(await here(client, clock)) == 2
                await bob.send("hello")
                assert await bob.receive_json() == {"name": "bob", "text": "hello"}


async def test_sessions() -> None:
    async with client_of("step09_sessions") as client:
        assert (await client.post("/rooms/1", content="hello")).status == 401
        assert (await client.post("/enter", form={"name": ""})).status == 400
        assert (await client.post("/enter", form={"name": "ann"})).status == 303
        assert (await client.post("/rooms/1", content="hello")).json() == {"offset": 1}
        [message] = (await client.broker.history("rooms/1")).messages
        assert message.data == {"name": "ann", "text": "hello"}


async def test_chat() -> None:
    async with client_of("step10_chat") as client:
        assert "<title>Chat" in (await client.get("/")).text
        with pytest.raises(ConnectionRefusedError):
            async with client.websocket("/rooms/1/talk"):
                pass
        await client.post("/enter", form={"name": "ann"})
        async with client.websocket("/rooms/1/talk") as ann:
            heard = [await ann.receive_json()]
            while heard[-1] != {"here": ["ann"]}:
                heard.append(await ann.receive_json())
            await ann.send("hello")
            while heard[-1] != {"name": "ann", "text": "hello"}:
                heard.append(await ann.receive_json())
            await client.post("/enter", form={"name": "bob"})
            async with client.websocket("/rooms/1/talk"):
                while heard[-1] != {"here": ["ann", "bob"]}:
                    heard.append(await ann.receive_json())
