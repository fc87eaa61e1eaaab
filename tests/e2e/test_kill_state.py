"""What a broker with a store keeps besides messages, when it is killed at a random moment: again and again.

Groups, named sessions, ends of topics; and presence, which comes back. Three kills in CI; by hand:

    make e2e ARGS="tests/e2e/test_kill_state.py --kill-rounds 100 -o faulthandler_timeout=0"
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import httpx
import pytest

import extra
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEEP_ALL = ("--retention-messages", "10000000", "--retention-topic-limit-bytes", "10000000000")
FORGOTTEN_S = 2.5
"""Acknowledgements and positions are written once a second; on a busy machine it may take a bit longer."""
REST_S = 30.0


class Office:
    """What was published with a receipt, and what has become of it."""

    def __init__(self) -> None:
        self.published: list[int] = []  # the offsets, in order
        self.told: set[int] = set()  # whether the broker has heard of it or not: a kill may come between
        self.done_lately: dict[int, float] = {}  # when the broker has said that it knows
        self.surely_done: set[int] = set()
        self.read: list[int] = []
        self.read_lately: list[tuple[float, int]] = []
        self.surely_read = 0
        self.closed: list[str] = []
        self.number = 0

    def killed(self) -> None:
        """Take note that what was acknowledged a moment ago may have been forgotten, and the rest has not."""
        long_ago = time.monotonic() - FORGOTTEN_S
        self.surely_done |= {offset for offset, at in self.done_lately.items() if at < long_ago}
        self.surely_read = max(
            [self.surely_read, *[offset for at, offset in self.read_lately if at < long_ago]]
        )
        self.done_lately.clear()
        self.read_lately.clear()

    async def publish(self, client: extra.Client) -> None:
        """Publish one after the other; now and then a topic that ends."""
        while True:
            self.number += 1
            receipt = await client.publish(f"jobs/{self.number % 3}", self.number)
            self.published.append(receipt.offset)
            if self.number % 50 == 0:
                topic = f"answers/{self.number}"
                await client.publish(topic, "all", close=True)
                self.closed.append(topic)

    async def work(self, client: extra.Client) -> None:
        """Do what a share of the group brings. Raises AssertionError when it was done long ago."""
        async with client.group("workers", "jobs/#", since="start", max_unacknowledged=20) as jobs:
            async for job in jobs:
                assert job.offset not in self.surely_done, "it was known to be done"
                self.told.add(job.offset)
                with contextlib.suppress(extra.NotDelivered):
                    await jobs.ack(job)
                    self.done_lately[job.offset] = time.monotonic()

    async def follow(self, client: extra.Client) -> None:
        """Read on in a session. Raises AssertionError when something is missing or too much comes again."""
        async with client.subscribe("jobs/#", session="reader", ack=True, since="start") as messages:
            async for message in messages:
                last = self.read[-1] if self.read else 0
                if message.offset > last:
                    self.read.append(message.offset)
                else:
                    assert message.offset > self.surely_read, "it was known to be read"
                if len(self.read) % 7 == 0:
                    await messages.ack(message)
                    self.read_lately.append((time.monotonic(), message.offset))


async def be_present(url: str, name: str) -> None:
    async with extra.Client(url) as client, client.subscribe("room", presence=True, member=name):
        await asyncio.Event().wait()


async def until_cut(doing: Awaitable[None]) -> None:
    """Do something for as long as the broker lives: what its end raises is nothing."""
    with contextlib.suppress(extra.BrokerClosed):
        await doing


async def eventually(holds: Callable[[], Awaitable[bool]], doing: Sequence[asyncio.Future[None]]) -> None:
    """Wait until something holds. Raises what those raise who do something meanwhile; TimeoutError."""
    async with asyncio.timeout(REST_S):
        while not await holds():
            done, _ = await asyncio.wait(doing, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                await each


async def test_what_was_kept_is_there_after_a_kill(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    rounds = request.config.getoption("--kill-rounds")
    random = Random(f"state {rounds}")
    options = ("--store", str(tmp_path / "store.db"), *KEEP_ALL)
    office = Office()
    for _ in range(rounds):
        daemon = await asyncio.to_thread(Daemon, *options)
        try:
            await life(office, daemon, random.uniform(0.3, 4.0))
        finally:
            office.killed()
            await asyncio.to_thread(daemon.kill)
        assert not daemon.troubles, daemon.troubles
    daemon = await asyncio.to_thread(Daemon, *options)
    try:
        await rest(office, daemon)
    finally:
        await asyncio.to_thread(daemon.stop)


async def life(office: Office, daemon: Daemon, seconds: float) -> None:
    """Let everybody do what they do, for so long, and look whether what had ended still has."""
    async with extra.Client(daemon.url) as client:
        for topic in office.closed[-5:]:
            with pytest.raises(extra.TopicClosed):
                await client.publish(topic, "more")
        doing = [
            asyncio.ensure_future(until_cut(each))
            for each in (
                office.publish(client),
                *[office.work(client) for _ in range(3)],
                office.follow(client),
                be_present(daemon.url, "ada"),
                be_present(daemon.url, "bob"),
            )
        ]
        try:
            await eventually(lambda: are_present(client, 2), doing)
            done, _ = await asyncio.wait(doing, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                await each  # which has failed
        finally:
            for each in doing:
                each.cancel()
            await asyncio.wait(doing)


async def rest(office: Office, daemon: Daemon) -> None:
    """Let the rest be done, and look whether it was everything."""
    async with extra.Client(daemon.url) as client:
        doing = [asyncio.ensure_future(each) for each in (office.work(client), office.follow(client))]

        async def is_done() -> bool:
            return min(await position(daemon, "workers"), office.read[-1]) >= office.published[-1]

        try:
            await eventually(is_done, doing)
        finally:
            for each in doing:
                each.cancel()
            await asyncio.wait(doing)
        assert set(office.published) <= office.told, "a job was handed to nobody, and counts as done"
        assert set(office.published) <= set(office.read), "a message was lost"
        assert await are_present(client, 0), "who was present is not, until they come back"
        for topic in office.closed:
            async with client.subscribe(topic, since="start") as messages:
                assert [message.data async for message in messages] == ["all"]


async def position(daemon: Daemon, group: str) -> int:
    """Return the offset up to which a group has done everything."""
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        offset: int = (await http.get(f"/groups/{group}")).json()["offset"]
        return offset


async def are_present(client: extra.Client, count: int) -> bool:
    return (await client.present("room")).count == count
