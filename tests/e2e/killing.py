"""Publishers and subscribers of a broker that is killed again and again, and what they hold against it.

A publisher repeats what was not acknowledged, with the same idempotency key, until it is. A subscriber hops
from face to face with its cursor. Neither knows of the other, nor of when the broker is killed.
"""

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import h11
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from extra.payloads import JSONValue
from extra.pubsub import Gap
from tests.conformance.faces.clients import EventStreamFace, Face, PollFace, Refused, WebSocketFace
from tests.property.checking import RESUMED, Mark, check_trace

__all__ = [
    "LAST",
    "BatchPublisher",
    "Place",
    "Publisher",
    "SinglePublisher",
    "SocketPublisher",
    "Subscriber",
    "check_all",
]

CUT: Final = (
    OSError,
    EOFError,
    httpx.HTTPError,
    h11.ProtocolError,
    WebSocketException,
    Refused,
    AssertionError,
)
"""What a client meets when the other side is cut off in the middle of anything."""

BATCH_MESSAGES: Final = 25

LAST: Final = 1_000_000_000
"""What a subscriber ends with."""

HOPS: Final[list[type[Face]]] = [WebSocketFace, EventStreamFace, PollFace]


@dataclass
class Place:
    """Where the broker is just now, told to those who look for it."""

    port: int = 0
    life: int = 0
    is_over: bool = False
    acknowledged: int = 0
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def move(self, port: int) -> None:
        """Say that it is there, or with 0, that it is nowhere."""
        async with self.moved:
            self.port = port
            self.life += port > 0
            self.moved.notify_all()

    async def find(self) -> tuple[int, int]:
        """Wait until it is somewhere; return the port and which life it is."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.port > 0)
            return self.port, self.life

    async def lost(self, life: int) -> bool:
        """Return whether the broker has gone since, which explains a connection that was cut."""
        async with self.moved:
            return self.life != life or self.port == 0

    async def count(self, acknowledged: int) -> None:
        async with self.moved:
            self.acknowledged += acknowledged
            self.moved.notify_all()

    async def reached(self, acknowledged: int) -> None:
        """Wait until so many messages have been acknowledged in all."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.acknowledged >= acknowledged)


class Publisher(ABC):
    """Publishes the whole numbers on a topic of its own, in order; `receipts` has the offset of each."""

    def __init__(self, place: Place, topic: str) -> None:
        self.place = place
        self.topic = topic
        self.receipts: dict[int, int] = {}

    async def run(self) -> None:
        """Publish at full speed until it is over, and then what was begun."""
        while not self.place.is_over:
            port, life = await self.place.find()
            try:
                await self.publish(port)
            except CUT:
                assert await self.place.lost(life), "cut off by a broker that is there"
                await self.place.find()

    @abstractmethod
    async def publish(self, port: int) -> None:
        """Publish what comes next, until it is over. Raises one of `CUT`."""

    def next_numbers(self, count: int) -> range:
        return range(len(self.receipts), len(self.receipts) + count)

    def fields(self, number: int) -> dict[str, JSONValue]:
        return {"topic": self.topic, "data": number, "key": f"{self.topic} {number}"}

    async def acknowledge(self, number: int, receipt: dict[str, JSONValue]) -> None:
        offset = receipt["offset"]
        assert isinstance(offset, int)
        assert number == len(self.receipts), "in order"
        self.receipts[number] = offset
        await self.place.count(1)


class SinglePublisher(Publisher):
    """One message in each `POST /t/..`."""

    async def publish(self, port: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            while not self.place.is_over:
                (number,) = self.next_numbers(1)
                headers = {"Idempotency-Key": f"{self.topic} {number}"}
                response = await http.post(f"/t/{self.topic}", content=str(number), headers=headers)
                assert response.status_code == 201
                await self.acknowledge(number, response.json())


class BatchPublisher(Publisher):
    """Many messages in each `POST /publish`."""

    async def publish(self, port: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            while not self.place.is_over:
                numbers = self.next_numbers(BATCH_MESSAGES)
                response = await http.post("/publish", json=[self.fields(number) for number in numbers])
                assert response.status_code == 201
                for number, receipt in zip(numbers, response.json(), strict=True):
                    await self.acknowledge(number, receipt)


class SocketPublisher(Publisher):
    """Many commands under way at once on a WebSocket."""

    async def publish(self, port: int) -> None:
        async with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=0) as socket:
            while not self.place.is_over:
                numbers = self.next_numbers(BATCH_MESSAGES)
                for number in numbers:
                    await socket.send(json.dumps({"op": "publish", "id": number, **self.fields(number)}))
                for number in numbers:
                    push = json.loads(await socket.recv())
                    while push.get("id") != number:
                        push = json.loads(await socket.recv())
                    assert push["op"] == "published", push
                    await self.acknowledge(number, push)


class Subscriber:
    """Follows filters from the start, over one face after the other; `trace` is what it was given."""

    def __init__(self, place: Place, filters: Sequence[str], random: Random) -> None:
        self.place = place
        self.filters = filters
        self.random = random
        self.cursor = ""
        self.is_done = False
        self.seen: dict[int, tuple[str, JSONValue]] = {}
        self.trace: list[int | Gap | Mark] = []

    async def run(self) -> None:
        """Follow until the message `LAST`."""
        for face in itertools.cycle(HOPS):
            port, life = await self.place.find()
            try:
                async with face(port, *self.filters, since=self.cursor or "start") as subscriber:
                    try:
                        await self.follow(subscriber)
                    finally:
                        self.cursor = subscriber.cursor or self.cursor
            except CUT:
                assert await self.place.lost(life), "cut off by a broker that is there"
            if self.is_done:
                break
            self.trace.append(RESUMED)

    async def follow(self, face: Face) -> None:
        for _ in range(self.random.randint(1, 200)):
            entry = await face.next()
            if entry is None:
                raise ConnectionError("the connection has ended")
            if entry["op"] == "gap":
                after, end = entry["after"], entry["until"]
                assert isinstance(after, int)
                assert isinstance(end, int)
                self.trace.append(Gap(after, end, "evicted"))
            elif entry["op"] == "message":
                offset = entry["offset"]
                assert isinstance(offset, int)
                self.seen[offset] = (str(entry["topic"]), entry["data"])
                self.trace.append(offset)
                if entry["data"] == LAST:
                    self.is_done = True
                    break


def check_all(publishers: Sequence[Publisher], subscribers: Sequence[Subscriber], until: int) -> None:
    """Fail unless what was acknowledged is there, once and in order, and no subscriber missed it untold.

    Up to the offset `until`: what was published afterwards nobody has waited for.
    """
    acknowledged: dict[int, tuple[str, JSONValue]] = {}
    for publisher in publishers:
        offsets = list(publisher.receipts.values())
        assert offsets == sorted(set(offsets)), "in order, each once"
        for number, offset in publisher.receipts.items():
            assert offset not in acknowledged, "no offset stands for two messages"
            acknowledged[offset] = (publisher.topic, number)
    known = dict(acknowledged)
    for subscriber in subscribers:
        for offset, message in subscriber.seen.items():
            assert known.setdefault(offset, message) == message, "an offset stands for one message"
    assert len(set(known.values())) == len(known), "no message has two offsets"
    topics = {offset: topic for offset, (topic, _) in known.items() if offset <= until}
    for subscriber in subscribers:
        trace = [each for each in subscriber.trace if not isinstance(each, int) or each <= until]
        check_trace(trace, topics, subscriber.filters, start=0)
