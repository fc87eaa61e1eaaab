"""A broker with a store is killed at a random moment, again and again, under those who publish and subscribe.

Three times in CI. By hand more often:

    make e2e ARGS="tests/e2e/test_kill.py --kill-rounds 100 -o faulthandler_timeout=0"
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.killing import (
    LAST,
    BatchPublisher,
    Place,
    Publisher,
    SinglePublisher,
    SocketPublisher,
    Subscriber,
    check_all,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEEP_ALL = ("--retention-messages", "100000000", "--retention-topic-limit-bytes", "10000000000")
KEEP_FEW = ("--retention-messages", "500")
MOST_BETWEEN_KILLS = 3000


@pytest.mark.parametrize(
    ("durability", "keep"), [("full", KEEP_ALL), ("normal", KEEP_ALL), ("full", KEEP_FEW)], ids=str
)
async def test_nothing_acknowledged_is_lost_or_doubled(
    request: pytest.FixtureRequest, tmp_path: Path, durability: str, keep: tuple[str, ...]
) -> None:
    """docs/architecture.md, what survives: order, each once, and loss that is told."""
    rounds = request.config.getoption("--kill-rounds")
    random = Random(f"{durability} {keep} {rounds}")
    path = tmp_path / "store.db"
    options = ("--store", str(path), "--store-durability", durability, *keep)
    place = Place()
    publishers: list[Publisher] = [
        kind(place, f"k/{kind.__name__}/{number}")
        for kind in (SinglePublisher, BatchPublisher, SocketPublisher)
        for number in range(2)
    ]
    filters = (["#"], ["k/+/0"], ["k/SinglePublisher/1", "k/BatchPublisher/#"])
    subscribers = [Subscriber(place, each, Random(random.random())) for each in filters]
    loop = asyncio.get_running_loop()

    async def start() -> Daemon:
        daemon = await loop.run_in_executor(None, lambda: Daemon(*options))
        await place.move(daemon.port)
        return daemon

    async def publish_on() -> None:
        async with asyncio.TaskGroup() as publishing:
            for publisher in publishers:
                publishing.create_task(publisher.run())

    async with asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(publish_on())
        following = [tasks.create_task(subscriber.run()) for subscriber in subscribers]
        for _ in range(rounds):
            daemon = await start()
            await place.reached(place.acknowledged + random.randint(1, MOST_BETWEEN_KILLS))
            await place.move(0)
            await loop.run_in_executor(None, daemon.kill)
            assert not daemon.troubles, daemon.troubles
        daemon = await start()
        await place.reached(place.acknowledged + 100)
        place.is_over = True
        await publishing
        ends = [await publish_last(daemon, f"k/SinglePublisher/{number}") for number in range(2)]
        await asyncio.wait(following)
        await loop.run_in_executor(None, daemon.stop)
    check_all(publishers, subscribers, min(ends))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if keep is KEEP_ALL:
            total = sum(len(publisher.receipts) for publisher in publishers)
            assert connection.execute("SELECT count(*) FROM messages").fetchone()[0] >= total


async def publish_last(daemon: Daemon, topic: str) -> int:
    """Publish what subscribers end with, and return its offset."""
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        receipt = (await http.post(f"/t/{topic}", content=str(LAST))).json()
    offset = receipt["offset"]
    assert isinstance(offset, int)
    return offset


def test_what_is_scheduled_is_published_once(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """docs/protocol.md, later: killed while it accepts, while it publishes, and in between."""
    rounds = request.config.getoption("--kill-rounds")
    random = Random(rounds)
    options = ("--store", str(tmp_path / "store.db"), *KEEP_ALL, "--retention-age-s", "86400")
    accepted: list[int] = []
    sent = 0
    for _ in range(rounds):
        daemon = Daemon(*options)
        with httpx.Client(base_url=daemon.url) as http:
            for _ in range(random.randint(1, 40)):
                batch = [
                    {"topic": "a", "data": sent + each, "deliver_at": time.time() + random.uniform(0, 2)}
                    for each in range(20)
                ]
                answers = http.post("/publish", json=batch).json()
                accepted += [sent + each for each, answer in enumerate(answers) if "error" not in answer]
                sent += len(batch)
        daemon.kill()
    daemon = Daemon(*options)
    with httpx.Client(base_url=daemon.url) as http:
        found: list[int] = []
        cursor = "start"
        while len(found) < len(accepted):
            page = http.get("/t/a", params={"since": cursor, "wait": "5", "limit": "10000"})
            assert page.status_code == 200, "nothing more comes"
            cursor = page.json()["cursor"]
            found += [message["data"] for message in page.json()["messages"]]
        assert http.get("/scheduled").json() == {"scheduled": [], "after": ""}
    daemon.stop()
    assert sorted(found) == accepted
