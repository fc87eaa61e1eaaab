"""The whole broker in an application of Starlette's, under uvicorn and on our server."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import Mount

import broker
from extra import Broker
from extra.bridges import ASGIApplication
from tests.conformance.bridges.serving import on_our_server, under_uvicorn

Serving = Callable[[object], AbstractAsyncContextManager[str]]


def mounted(application: ASGIApplication) -> Starlette:
    return Starlette(routes=[Mount("/realtime", application)])


@pytest.mark.parametrize("serving", [on_our_server, under_uvicorn])
async def test_every_face_of_a_mounted_broker(serving: Serving) -> None:
    async with Broker() as own:
        application = broker.asgi(own)
        async with (
            serving(mounted(application)) as address,
            httpx.AsyncClient(base_url=f"http://{address}/realtime") as client,
            websockets.connect(f"ws://{address}/realtime/ws") as socket,
            client.stream("GET", "/sse?topic=a/%2B", headers={"accept": "text/event-stream"}) as events,
        ):
            assert json.loads(await socket.recv())["op"] == "welcome"
            await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": "a/+"}))
            assert json.loads(await socket.recv())["op"] == "subscribed"
            polling = asyncio.create_task(client.get("/t/a/b?wait=25&since=now"))
            lines = events.aiter_lines()
            await anext(lines)
            async with own.subscribe("a/b") as messages:
                receipt = (await client.post("/t/a/b", json={"n": 1})).json()
                assert (await anext(messages)).data == {"n": 1}
            assert json.loads(await socket.recv())["offset"] == receipt["offset"]
            async for line in lines:
                if line.startswith("data:"):
                    assert json.loads(line.removeprefix("data:"))["data"] == {"n": 1}
                    break
            assert (await client.get("/t/a/b")).json()["messages"][0]["data"] == {"n": 1}
            polling.cancel()
            application.drain()  # what the signal that ends the host brings about
            assert "event: goodbye" in [line async for line in lines]
            assert json.loads(await socket.recv())["op"] == "goodbye"
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
        await application.stop()
