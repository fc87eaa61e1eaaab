"""A hub with a broker in memory and a clock that stands, and requests as the router hands them over."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgpack

from broker.endpoints import Hub
from broker.settings import Settings
from extra.http import Request, Response, decode_percent
from extra.payloads import JSONValue
from extra.pubsub import Broker, BrokerLimits, Engine, MemoryEngine, Policy, PolicyTable
from tests.fakes.clock import FakeClock

__all__ = ["Fields", "body_of", "fields_of", "frames", "headers_of", "make_request", "pushes", "running_hub"]

Fields = dict[str, JSONValue]


@asynccontextmanager
async def running_hub(
    settings: Settings | None = None,
    *,
    keep: int = 100,
    limits: BrokerLimits | None = None,
    draw: float = 0.5,
    wrap: Callable[[MemoryEngine], Engine] = lambda engine: engine,
) -> AsyncIterator[Hub]:
    """Run a hub whose log has the epoch `e1` and keeps `keep` messages of each topic."""
    clock = FakeClock()
    engine = MemoryEngine(PolicyTable(Policy(messages=keep)), clock=clock, epoch="e1")
    async with Broker(wrap(engine), limits=limits, clock=clock) as broker, asyncio.TaskGroup() as tasks:
        yield Hub(broker, settings if settings is not None else Settings(), tasks, draw=lambda: draw)


def make_request(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    version: str = "1.1",
) -> Request:
    """Return a request as its handler gets it: a path below `/t/` has been taken apart."""
    fields = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request(method, target.encode(), fields, http_version=version, body=body)
    if request.raw_path.startswith("/t/"):
        request.params = {"topic": decode_percent(request.raw_path.removeprefix("/t/"))}
    return request


def headers_of(response: Response) -> dict[str, str]:
    """Return the header fields of a response, names in lower case; none comes twice."""
    names = [name.lower() for name, _ in response.headers]
    assert len(names) == len(set(names))
    return {name.lower(): value for name, value in response.headers}


def body_of(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def fields_of(response: Response) -> Fields:
    """Return the JSON object that a response holds."""
    fields: Fields = json.loads(body_of(response))
    return fields


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the opcode and the payload of each frame (RFC 6455 5.2): whole ones, unmasked."""
    found = []
    while data:
        assert data[0] & 0x80
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        found.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return found


def pushes(data: bytes) -> list[Fields]:
    """Return what frames hold, in JSON or msgpack."""
    return [
        json.loads(payload) if opcode == 1 else msgpack.unpackb(payload) for opcode, payload in frames(data)
    ]
