"""The engine with a file: when what is told to whom, and what becomes of it when the disk fails.

That it answers as the memory engine does stands in tests/conformance/engines.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from broker.engines import SQLiteEngine, StoreRefused
from broker.engines.schema import VERSION
from broker.engines.sqlite import BATCH_LIMIT_MESSAGES, GONE_LIMIT_MESSAGES, STRIDE_BYTES
from extra.errors import (
    EngineUnavailable,
    ExtraError,
    InvalidCommand,
    LimitExceeded,
    PreconditionFailed,
    TopicClosed,
)
from extra.pubsub import Broker, Delivery, Message, Policy, PolicyTable
from extra.pubsub.idempotency import digest
from tests.fakes.clock import FakeClock
from tests.fakes.disk import Disk, WatchedConnection, error_of
from tests.unit.pubsub.material import a_message, settle

SIZE = a_message("a").size


class Taker(Delivery):
    """Keeps the offsets that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: list[int] = []
        self.is_broken = False

    def deliver(self, message: Message) -> int:
        if self.is_broken:
            raise ZeroDivisionError("a bug")
        self.offsets.append(message.offset)
        return 2


class Shop:
    """Engines, one after the other, on one file and one disk."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.path = directory / "store.db"
        self.stack = stack
        self.disk = Disk()
        self.clock = FakeClock()
        self.taker = Taker()

    def make(
        self, policy: Policy | None = None, entries: list[tuple[str, Policy]] | None = None, **limits: int
    ) -> SQLiteEngine:
        return SQLiteEngine(
            str(self.path),
            PolicyTable(policy or Policy(messages=1000), entries),
            clock=self.clock,
            connect=self.disk.connect,
            **limits,  # type: ignore[arg-type]  # all that are given are whole numbers
        )

    async def open(
        self, policy: Policy | None = None, entries: list[tuple[str, Policy]] | None = None, **limits: int
    ) -> SQLiteEngine:
        engine = self.make(policy, entries, **limits)
        await engine.start(self.taker)
        self.stack.push_async_callback(engine.close)
        return engine

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    async def break_down(self, engine: SQLiteEngine, name: str = "SQLITE_FULL") -> None:
        """Let the disk fail, and the engine notice."""
        self.disk.fail("COMMIT", name)
        with pytest.raises(EngineUnavailable):
            await engine.append(a_message("broken"))

    async def sweep(self, engine: SQLiteEngine) -> None:
        """Let a second pass for the engine, and wait for what that brings."""
        engine.sweep()
        await asyncio.sleep(0)
        await engine.until_idle()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        shop = Shop(tmp_path, stack)
        stack.callback(shop.disk.mend)
        stack.callback(shop.disk.release)
        yield shop


async def started(*coroutines: object) -> list[asyncio.Future[int]]:
    """Begin with each, in this order."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]  # type: ignore[call-overload]  # all are
    await settle()
    return tasks


async def codes(tasks: list[asyncio.Future[int]]) -> list[int | str]:
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [answer.code if isinstance(answer, ExtraError) else answer for answer in answers]  # type: ignore[misc]


# Durable first


async def test_nobody_has_a_message_before_it_is_in_the_file(shop: Shop) -> None:
    engine = await shop.open()
    shop.disk.hold()
    tasks = await started(engine.append(a_message("a", retained=True)))
    assert (tasks[0].done(), shop.taker.offsets, engine.head()) == (False, [], 0)
    assert (await engine.read(["#"], 0, 1 << 62, 10)).messages == []
    assert await engine.retained(["#"]) == []
    shop.disk.release()
    assert await tasks[0] == 2
    assert (shop.taker.offsets, engine.head()) == ([1], 1)
    assert shop.rows("SELECT offset FROM messages") == [(1,)]


async def test_what_comes_while_a_batch_is_written_is_the_next_batch(shop: Shop) -> None:
    engine = await shop.open()
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message("a")) for _ in range(3)))
    tasks += await started(*(engine.append(a_message("a")) for _ in range(5)))
    shop.disk.release()
    await asyncio.gather(*tasks)
    figures = engine.figures()
    assert (figures["store_batches"], figures["store_written"]) == (2, 8)
    assert shop.taker.offsets == list(range(1, 9))


async def test_a_batch_holds_so_many_messages(shop: Shop) -> None:
    engine = await shop.open()
    count = BATCH_LIMIT_MESSAGES + 1
    await engine.append_many([a_message("a") for _ in range(count)], [b""] * count)
    assert engine.figures()["store_batches"] == 2
    assert shop.taker.offsets == list(range(1, count + 1))


async def test_many_are_one_batch_and_one_that_is_refused_keeps_no_other_out(shop: Shop) -> None:
    engine = await shop.open(retained_limit_messages=1)
    messages = [a_message("a", retained=True), a_message("b", retained=True), a_message("c")]
    first, second, third = await engine.append_many(messages, [b"", b"", b""])
    assert (first, third) == (2, 2)
    assert isinstance(second, LimitExceeded)
    assert shop.taker.offsets == [1, 2]


async def test_messages_are_delivered_in_strides(shop: Shop) -> None:
    """In between, the outboxes of those who read are written."""
    engine = await shop.open()
    turns: list[int] = []
    messages = [a_message("a", b"x" * (STRIDE_BYTES // 2)) for _ in range(6)]
    appending = asyncio.ensure_future(engine.append_many(messages, [b""] * 6))
    while not appending.done():
        turns.append(len(shop.taker.offsets))
        await asyncio.sleep(0)
    assert {2, 4} <= set(turns)
    assert not {1, 3, 5} & set(turns)


async def test_a_bug_in_delivering_holds_up_nobody(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    engine = await shop.open()
    shop.taker.is_broken = True
    assert await engine.append(a_message("a")) == 0
    assert "ZeroDivisionError" in caplog.text
    shop.taker.is_broken = False
    assert await engine.append(a_message("a")) == 2


# Bounds


async def test_publishing_waits_for_room_in_the_queue(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=2)
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message("a")) for _ in range(5)))
    figures = engine.figures()
    assert (figures["store_queue_messages"], figures["store_queue_bytes"]) == (2, 2 * SIZE)
    assert figures["store_waiting"] == 3
    shop.disk.release()
    await asyncio.gather(*tasks)
    figures = engine.figures()
    assert (figures["store_queue_messages"], figures["store_queue_bytes"], figures["store_waiting"]) == (
        0,
        0,
        0,
    )
    assert shop.taker.offsets == [1, 2, 3, 4, 5]


async def test_the_queue_is_bounded_in_bytes(shop: Shop) -> None:
    engine = await shop.open(queue_limit_bytes=SIZE)
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message("a")) for _ in range(2)))
    assert engine.figures()["store_waiting"] == 1
    shop.disk.release()
    await asyncio.gather(*tasks)


async def test_many_wait_for_room_one_by_one(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=2)
    assert await engine.append_many([a_message("a") for _ in range(7)], [b""] * 7) == [2] * 7
    assert shop.taker.offsets == [1, 2, 3, 4, 5, 6, 7]


async def test_near_the_limit_of_what_is_retained_one_waits_for_the_other(shop: Shop) -> None:
    engine = await shop.open(retained_limit_messages=2)
    tasks = await started(*(engine.append(a_message(topic, retained=True)) for topic in "ababc"))
    assert await codes(tasks) == [2, 2, 2, 2, "limit_exceeded"]
    assert [each.offset for each in await engine.retained(["#"])] == [3, 4]
    assert engine.figures()["store_queue_messages"] == 0


async def test_a_message_that_cannot_be_a_row_fails_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await shop.open()
    odd = Message("a", b"", content_type="text/\ud800")
    answers = await engine.append_many([a_message("a"), odd, a_message("a")], [b""] * 3)
    assert isinstance(answers[1], InvalidCommand)
    assert [answers[0], answers[2]] == [2, 2]
    assert await engine.append(Message("a", b"", content_type="text/ü", headers={"\ud800": "\udc00"})) == 2
    huge = a_message("a")
    huge.size = 1_000_000_000
    with pytest.raises(LimitExceeded):
        await engine.append(huge)


# Cancelling


async def test_who_is_cancelled_leaves_when_it_is_decided(shop: Shop) -> None:
    """`Engine.append`: its offset tells."""
    engine = await shop.open()
    shop.disk.hold()
    message = a_message("a")
    tasks = await started(engine.append(message))
    tasks[0].cancel()
    await settle()
    assert not tasks[0].done()
    shop.disk.release()
    await asyncio.wait(tasks)
    assert (tasks[0].cancelled(), message.offset, shop.taker.offsets) == (True, 1, [1])


async def test_who_is_cancelled_while_waiting_for_room_has_published_nothing(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=1)
    shop.disk.hold()
    waiting = a_message("a")
    tasks = await started(engine.append(a_message("a")), engine.append(waiting))
    tasks[1].cancel()
    await asyncio.wait(tasks[1:])
    shop.disk.release()
    assert await tasks[0] == 2
    assert (tasks[1].cancelled(), waiting.offset, shop.taker.offsets) == (True, 0, [1])
    assert engine.figures()["store_queue_messages"] == 0


async def test_many_that_are_cancelled_are_decided_one_by_one(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=2)
    shop.disk.hold()
    messages = [a_message("a") for _ in range(4)]
    tasks = await started(engine.append_many(messages, [b""] * 4))
    tasks[0].cancel()
    await settle()
    assert not tasks[0].done()
    shop.disk.release()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    assert [message.offset for message in messages] == [1, 2, 0, 0]


# Starting again


async def test_everything_goes_on_after_a_restart(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append_many([a_message("a", retained=True), a_message("b")], [b"", b""])
    epoch = engine.epoch()
    await engine.close()
    await engine.close()
    again = await shop.open()
    assert (again.epoch(), again.head()) == (epoch, 2)
    assert await again.append(a_message("a")) == 2
    assert [each.offset for each in (await again.read(["#"], 0, 1 << 62, 10)).messages] == [1, 2, 3]
    assert [each.offset for each in await again.retained(["#"])] == [1]


async def test_an_end_goes_on_as_long_as_its_message_is_retained(shop: Shop) -> None:
    engine = await shop.open(Policy(age_s=5.0))
    for topic in ("a", "b"):
        await engine.append(a_message(topic, retained=True, close=True))
    await engine.append(a_message("b", close=False))
    shop.clock.advance(6.0)
    await shop.sweep(engine)
    await engine.close()
    again = await shop.open()
    end = again.end("a")
    assert end is not None
    assert (end.offset, end.is_kept) == (1, False)
    assert again.end("b") is None, "it was opened anew"
    assert await codes([asyncio.ensure_future(again.append(a_message("a")))]) == ["topic_closed"]


async def test_a_time_to_live_goes_on_over_a_restart(shop: Shop) -> None:
    engine = await shop.open()
    expires_at = shop.clock.time() + 10.0
    for retained in (True, False):
        await engine.append(a_message("a", expires_at=expires_at, retained=retained))
    await engine.close()
    shop.clock.advance(9.0)
    again = await shop.open()
    assert [each.expires_at for each in await again.retained(["a"])] == [expires_at]
    assert len((await again.read(["a"], 0, 1 << 62, 10)).messages) == 2
    await again.close()
    shop.clock.advance(1.0)
    last = await shop.open()
    assert await last.retained(["a"]) == []
    piece = await last.read(["a"], 0, 1 << 62, 10)
    assert (piece.messages, piece.evicted_until) == ([], 0)


async def test_what_has_gone_goes_from_the_file_with_the_next_second(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=2, age_s=10.0))
    for _ in range(3):
        await engine.append(a_message("a"))
    await engine.append(a_message("b", retained=True, expires_at=shop.clock.time() + 5.0))
    assert shop.rows("SELECT offset FROM messages") == [(1,), (2,), (3,), (4,)]
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM messages") == [(2,), (3,), (4,)]
    shop.clock.advance(10.0)
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM messages") == []
    assert shop.rows("SELECT offset FROM retained") == []
    assert shop.rows("SELECT name, evicted_until FROM topics ORDER BY name") == [("a", 3), ("b", 0)]
    batches = engine.figures()["store_batches"]
    await shop.sweep(engine)
    assert engine.figures()["store_batches"] == batches, "there is nothing to write"


async def test_much_that_has_gone_goes_from_the_file_without_waiting(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=1))
    for count in (GONE_LIMIT_MESSAGES + 1, 1):
        await engine.append_many([a_message("a") for _ in range(count)], [b""] * count)
    assert shop.rows("SELECT offset FROM messages") == [
        (GONE_LIMIT_MESSAGES + 1,),
        (GONE_LIMIT_MESSAGES + 2,),
    ]


async def test_what_has_gone_goes_from_the_file_when_it_is_closed(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=1))
    await engine.append_many([a_message("a"), a_message("a")], [b"", b""])
    await engine.close()
    assert shop.rows("SELECT offset FROM messages") == [(2,)]
    assert shop.rows("SELECT is_open FROM store") == [(0,)]


async def test_what_nobody_keeps_is_not_written_but_told_as_lost(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=0))
    await engine.append_many([a_message("a"), a_message("a", retained=True)], [b"", b""])
    await engine.close()
    assert shop.rows("SELECT count(*) FROM messages") == [(0,)]
    again = await shop.open(Policy(messages=0))
    assert (await again.read(["a"], 0, 1 << 62, 10)).evicted_until == 2
    assert [each.offset for each in await again.retained(["a"])] == [2]


async def test_a_topic_that_comes_back_as_it_is_forgotten_is_not_forgotten_in_the_file(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=1), topics_limit=1)
    await engine.append(a_message("a"))
    await engine.append(a_message("b"))  # `a` is forgotten
    await engine.append(a_message("a"))
    await engine.append(a_message("a"))
    await engine.close()
    assert shop.rows("SELECT name, offset FROM messages JOIN topics ON topic_id = id") == [("a", 4)]
    again = await shop.open(Policy(messages=1), topics_limit=1)
    assert [each.topic for each in (await again.read(["#"], 0, 1 << 62, 10)).messages] == ["a"]
    assert (await again.read(["b"], 0, 1 << 62, 10)).evicted_until >= 2


async def test_closing_writes_what_is_queued_and_refuses_what_waits(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=2)
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message("a")) for _ in range(3)))
    closing_task = asyncio.ensure_future(engine.close())
    await settle()
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a"))
    shop.disk.release()
    await closing_task
    assert await codes(tasks) == [2, 2, "engine_unavailable"]
    assert shop.rows("SELECT offset FROM messages") == [(1,), (2,)]


async def test_an_engine_that_was_not_started_or_is_closed_takes_nothing(shop: Shop) -> None:
    engine = shop.make()
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a"))
    engine.sweep()
    await engine.close()
    opened = await shop.open()
    await opened.close()
    opened.sweep()
    with pytest.raises(EngineUnavailable):
        await opened.clear("a")


async def test_a_file_that_is_refused_is_let_go_of(shop: Shop) -> None:
    await (await shop.open()).close()
    shop.disk.fail("SELECT id, name", "SQLITE_CORRUPT")
    with pytest.raises(StoreRefused, match="is damaged"):
        await shop.make().start(shop.taker)
    shop.disk.fail("SELECT id, name", "SQLITE_IOERR_READ")
    with pytest.raises(StoreRefused, match="reports an error"):
        await shop.make().start(shop.taker)
    shop.disk.mend()
    await shop.open()


async def test_starting_can_be_cancelled(shop: Shop) -> None:
    shop.disk.hold()
    starting = asyncio.ensure_future(shop.make().start(shop.taker))
    await settle()
    starting.cancel()
    await settle()
    shop.disk.release()
    await asyncio.wait([starting])
    assert starting.cancelled()
    await shop.open()


# Clearing


async def test_clearing_is_in_the_file_before_it_is_told(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a", retained=True))
    shop.disk.hold()
    tasks = await started(engine.clear("a"))
    assert not tasks[0].done()
    assert [each.offset for each in await engine.retained(["a"])] == [1]
    shop.disk.release()
    assert await tasks[0]
    assert await engine.retained(["a"]) == []
    assert shop.rows("SELECT * FROM retained") == []
    assert not await engine.clear("a")


async def test_clearing_lets_go_of_what_was_retained_before_as_well(shop: Shop) -> None:
    """Messages that were replaced are still in the file for a while: they must not come back."""
    engine = await shop.open()
    for _ in range(3):
        await engine.append(a_message("a", retained=True))
    assert await engine.clear("a")
    assert shop.rows("SELECT offset FROM retained") == []


async def test_clearing_keeps_its_place_among_what_is_published(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a", retained=True))
    shop.disk.hold()
    tasks = await started(
        engine.append(a_message("x")),
        engine.append(a_message("a", retained=True)),
        engine.clear("a"),
        engine.clear("a"),
        engine.append(a_message("a", retained=True)),
        engine.clear("b"),
    )
    shop.disk.release()
    assert await asyncio.gather(*tasks) == [2, 2, True, False, 2, False]
    assert [each.offset for each in await engine.retained(["#"])] == [4]
    await engine.close()
    assert shop.rows("SELECT offset FROM retained") == [(4,)]


async def test_clearing_fails_as_publishing_does(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a", retained=True))
    shop.disk.fail("COMMIT")
    with pytest.raises(EngineUnavailable):
        await engine.clear("a")
    with pytest.raises(EngineUnavailable):
        await engine.clear("a")
    assert [each.offset for each in await engine.retained(["a"])] == [1]
    assert engine.figures()["store_queue_messages"] == 0


# Keys


async def test_a_key_survives_with_its_message(shop: Shop) -> None:
    async with Broker(shop.make(), clock=shop.clock) as broker:
        first = await broker.publish("a", 1, key="k")
    shop.clock.advance(60.0)
    async with Broker(shop.make(), clock=shop.clock) as broker:
        again = await broker.publish("a", 2, key="k")
        assert (again.offset, again.cursor) == (first.offset, first.cursor)
        assert (await broker.publish("a", 2, key="other")).offset == 2
        shop.clock.advance(60.0)
        assert (await broker.publish("a", 2, key="k")).offset == 3


async def test_old_keys_go_from_the_file(shop: Shop) -> None:
    engine = await shop.open(idempotency_limit_keys=2)
    for number in range(4):
        await engine.append_keyed(a_message("a"), digest("a", str(number)))
    assert shop.rows("SELECT offset FROM keys") == [(1,), (2,), (3,), (4,)]
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM keys") == [(3,), (4,)]
    shop.clock.advance(120.0)
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM keys") == []


async def test_keys_that_are_old_by_the_start_go_from_the_file(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append_keyed(a_message("a"), b"k1")
    await engine.close()
    shop.clock.advance(120.0)
    again = await shop.open()
    assert again.remembered() == []
    await shop.sweep(again)
    assert shop.rows("SELECT offset FROM keys") == []


async def test_where_no_keys_are_remembered_none_is_written(shop: Shop) -> None:
    engine = await shop.open(idempotency_limit_keys=0)
    await engine.append_keyed(a_message("a"), b"k1")
    assert shop.rows("SELECT offset FROM keys") == []


# When the disk fails


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO topics", "INSERT INTO messages", "COMMIT"])
@pytest.mark.parametrize(
    "name", ["SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_READONLY_DBMOVED", "SQLITE_BUSY"]
)
async def test_whatever_fails_publishing_is_refused_and_reading_goes_on(
    shop: Shop, statement: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await shop.open()
    await engine.append(a_message("a"))
    shop.disk.fail(statement, name)
    message = a_message("b")
    with pytest.raises(EngineUnavailable, match=name):
        await engine.append(message)
    assert message.offset == 0
    assert name in engine.trouble()
    assert name in caplog.text
    assert "Traceback" not in caplog.text
    assert [each.offset for each in (await engine.read(["a"], 0, 1 << 62, 10)).messages] == [1]
    assert (engine.head(), shop.taker.offsets) == (1, [1])
    figures = engine.figures()
    assert (figures["store_writable"], figures["store_failures"], figures["store_queue_messages"]) == (
        0,
        1,
        0,
    )
    executed = len(shop.disk.statements)
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a"))
    assert len(shop.disk.statements) == executed, "it is not tried again for each"
    shop.disk.mend()
    await shop.sweep(engine)
    assert (engine.trouble(), engine.figures()["store_writable"]) == ("", 1)
    assert await engine.append(a_message("a")) == 2
    assert shop.taker.offsets == [1, 2]


async def test_all_that_is_queued_is_refused_with_the_batch_that_fails(shop: Shop) -> None:
    engine = await shop.open(queue_limit_messages=4)
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message("a", retained=True)) for _ in range(2)))
    tasks += await started(*(engine.append(a_message("b")) for _ in range(4)))
    shop.disk.fail("COMMIT")
    shop.disk.release()
    assert await codes(tasks) == ["engine_unavailable"] * 6
    figures = engine.figures()
    assert (figures["store_queue_messages"], figures["store_queue_bytes"], figures["store_waiting"]) == (
        0,
        0,
        0,
    )
    shop.disk.mend()
    await shop.sweep(engine)
    assert await engine.append(a_message("a", retained=True)) == 2
    assert shop.taker.offsets == [1]


async def test_who_waits_to_retain_is_refused_as_well(shop: Shop) -> None:
    engine = await shop.open(retained_limit_messages=1)
    shop.disk.hold()
    tasks = await started(*(engine.append(a_message(topic, retained=True)) for topic in "ab"))
    shop.disk.fail("COMMIT")
    shop.disk.release()
    assert await codes(tasks) == ["engine_unavailable"] * 2
    assert engine.figures()["store_queue_messages"] == 0


async def test_it_is_tried_again_each_second_until_it_can_be_written(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await shop.open()
    await shop.break_down(engine)
    await shop.sweep(engine)
    shop.disk.mend()
    shop.disk.fail("connect", "SQLITE_CANTOPEN")
    await shop.sweep(engine)
    assert "SQLITE_CANTOPEN" in engine.trouble()
    shop.disk.mend()
    with caplog.at_level(logging.INFO):
        await shop.sweep(engine)
    assert engine.trouble() == ""
    assert "can be written again" in caplog.text


async def test_what_goes_meanwhile_goes_from_the_file_afterwards(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=2, age_s=10.0))
    await engine.append_many([a_message("a") for _ in range(3)], [b""] * 3)
    await shop.break_down(engine)
    shop.clock.advance(10.0)
    await shop.sweep(engine)
    assert (await engine.read(["a"], 0, 1 << 62, 10)).evicted_until == 3
    shop.disk.mend()
    await shop.sweep(engine)
    await shop.sweep(engine)
    assert shop.rows("SELECT count(*) FROM messages") == [(0,)]
    assert shop.rows("SELECT name, evicted_until FROM topics") == [("a", 3)]


async def test_a_key_of_what_was_refused_does_not_count(shop: Shop) -> None:
    async with Broker(shop.make(), clock=shop.clock) as broker:
        shop.disk.fail("COMMIT")
        with pytest.raises(EngineUnavailable):
            await broker.publish("a", 1, key="k")
        shop.disk.mend()
        engine = broker.engine
        assert isinstance(engine, SQLiteEngine)
        await shop.sweep(engine)
        assert (await broker.publish("a", 2, key="k")).offset == 1
    assert shop.rows("SELECT offset FROM keys") == [(1,)]


async def test_it_can_be_closed_while_the_disk_fails(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    engine = await shop.open()
    await engine.append(a_message("a"))
    await shop.break_down(engine)
    shop.disk.fail("UPDATE store")
    await engine.close()
    assert "was not closed in order" in caplog.text
    shop.disk.mend()
    again = await shop.open()
    assert again.head() == 1


async def test_on_a_full_disk_it_starts_and_reads(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a"))
    await engine.close()
    shop.disk.fail("UPDATE store", "SQLITE_FULL")
    again = await shop.open()
    assert "the disk is full" in again.trouble()
    assert len((await again.read(["a"], 0, 1 << 62, 10)).messages) == 1
    shop.disk.mend()
    await shop.sweep(again)
    assert await again.append(a_message("a")) == 2
    assert shop.rows("SELECT is_open FROM store") == [(1,)]


async def test_a_disk_that_fails_otherwise_when_it_starts_is_refused(shop: Shop) -> None:
    await (await shop.open()).close()
    shop.disk.fail("UPDATE store", "SQLITE_READONLY")
    with pytest.raises(StoreRefused, match="cannot be written to"):
        await shop.make().start(shop.taker)


async def test_a_bug_in_writing_is_told_with_where_it_was(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await shop.open()
    shop.disk.raising = ZeroDivisionError("a bug")
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a"))
    assert "Traceback" in caplog.text
    shop.disk.mend()
    await shop.sweep(engine)
    assert await engine.append(a_message("a")) == 2


async def test_a_file_that_cannot_grow_takes_nothing_more_until_there_is_room(tmp_path: Path) -> None:
    """A full disk as SQLite itself knows it: no page more than so many."""
    engine = SQLiteEngine(str(tmp_path / "store.db"), PolicyTable(Policy(messages=1000)), clock=FakeClock())
    taker = Taker()
    await engine.start(taker)
    try:
        pages = engine.store.connection.execute("PRAGMA page_count").fetchone()[0]
        engine.store.connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        published = 0
        with pytest.raises(EngineUnavailable, match="the disk is full"):  # noqa: PT012 - one of them fails
            for _ in range(100):
                await engine.append(a_message("a", b"x" * 2000))
                published += 1
        assert published > 0
        assert len((await engine.read(["a"], 0, 1 << 62, 1000)).messages) == published
        engine.sweep()  # opens it anew, without that bound
        await engine.until_idle()
        assert await engine.append(a_message("a", b"x" * 2000)) == 2
        assert taker.offsets == list(range(1, published + 2))
    finally:
        await engine.close()


# What a batch that fails had to say about what has gone


class Unsure(Disk):
    """A disk that takes the last page of a transaction and then reports an error, when told to."""

    is_unsure = False

    def connect(self, uri: str) -> sqlite3.Connection:
        if "connect" in self.failing:
            raise error_of(self.failing["connect"])
        connection = sqlite3.connect(
            uri, isolation_level=None, check_same_thread=False, uri=True, factory=UnsureConnection
        )
        connection.disk = self
        return connection


class UnsureConnection(WatchedConnection):
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # Any: as sqlite3 has it
        cursor = super().execute(sql, parameters)
        if sql == "COMMIT" and isinstance(self.disk, Unsure) and self.disk.is_unsure:
            raise error_of("SQLITE_IOERR_FSYNC")
        return cursor


@pytest.fixture
async def unsure(shop: Shop) -> Unsure:
    shop.disk = disk = Unsure()
    return disk


async def recover(shop: Shop, engine: SQLiteEngine) -> None:
    shop.disk.mend()
    await shop.sweep(engine)
    assert engine.trouble() == ""


@pytest.mark.parametrize("statement", ["BEGIN", "DELETE FROM messages", "UPDATE store", "COMMIT"])
async def test_what_has_gone_goes_with_the_next_batch_that_succeeds(shop: Shop, statement: str) -> None:
    engine = await shop.open(Policy(messages=1), topics_limit=2)
    for topic in ("a", "a", "b", "b", "c"):  # `a` is forgotten
        await engine.append(a_message(topic, retained=True))
    await engine.clear("b")
    shop.disk.fail(statement)
    await shop.sweep(engine)
    assert engine.trouble()
    await recover(shop, engine)
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM messages ORDER BY offset") == [(4,), (5,)]
    assert shop.rows("SELECT name, evicted_until FROM topics ORDER BY name") == [("b", 3), ("c", 0)]
    assert shop.rows("SELECT offset FROM retained ORDER BY offset") == [(2,), (5,)]
    assert shop.rows("SELECT forgotten_until FROM store") == [(2,)]


async def test_what_nobody_keeps_and_was_refused_is_no_loss(shop: Shop) -> None:
    """A loss above the head would be taken for damage when the file is read back."""
    engine = await shop.open(Policy(messages=0))
    await engine.append(a_message("a"))
    shop.disk.fail("COMMIT")
    answers = await engine.append_many([a_message("a") for _ in range(3)], [b""] * 3)
    assert all(isinstance(answer, EngineUnavailable) for answer in answers)
    await recover(shop, engine)
    await shop.sweep(engine)
    assert shop.rows("SELECT name, evicted_until FROM topics") == [("a", 1)]
    await engine.close()
    again = await shop.open(Policy(messages=0))
    assert (await again.read(["a"], 0, 1 << 62, 10)).evicted_until == 1


async def test_what_nobody_keeps_and_is_in_the_file_all_the_same_is_taken_back(
    shop: Shop, unsure: Unsure
) -> None:
    engine = await shop.open(Policy(messages=0))
    await engine.append(a_message("a"))
    unsure.is_unsure = True
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("b"))
    unsure.is_unsure = False
    await recover(shop, engine)
    await engine.close()
    again = await shop.open(Policy(messages=0))
    assert again.head() == 1
    assert (await again.read(["#"], 0, 1 << 62, 10)).evicted_until == 1


async def test_what_was_lost_of_topics_that_are_forgotten_is_known_after_recovering(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=1), topics_limit=1)
    for topic in ("a", "b", "c"):
        await engine.append(a_message(topic))
    await shop.sweep(engine)
    assert shop.rows("SELECT forgotten_until FROM store") == [(2,)]
    await shop.break_down(engine)
    await recover(shop, engine)
    assert shop.rows("SELECT forgotten_until FROM store") == [(2,)]


async def test_a_topic_that_is_forgotten_is_so_although_it_was_about_to_come_back(shop: Shop) -> None:
    engine = await shop.open(Policy(messages=1), topics_limit=1)
    await engine.append(a_message("a"))
    await engine.append(a_message("b"))  # `a` is forgotten
    shop.disk.fail("COMMIT")
    engine.sweep()
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a"))
    await recover(shop, engine)
    await shop.sweep(engine)
    assert shop.rows("SELECT name FROM topics") == [("b",)]


async def test_old_keys_go_from_the_file_with_the_next_batch_that_succeeds(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append_keyed(a_message("a"), digest("a", "k"))
    shop.clock.advance(120.0)
    shop.disk.fail("COMMIT")
    await shop.sweep(engine)
    await recover(shop, engine)
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM keys") == []


async def test_a_clearing_that_was_refused_and_is_in_the_file_is_taken_back(
    shop: Shop, unsure: Unsure
) -> None:
    """Who was refused may try again or not: what is retained is the same before and after a restart."""
    engine = await shop.open()
    for topic in "ab":
        await engine.append(a_message(topic, topic.encode(), retained=True))
    unsure.is_unsure = True
    with pytest.raises(EngineUnavailable):
        await engine.clear("a")
    unsure.is_unsure = False
    assert shop.rows("SELECT topic FROM retained") == [("b",)]
    await recover(shop, engine)
    assert [each.topic for each in await engine.retained(["#"])] == ["a", "b"]
    await engine.close()
    again = await shop.open()
    assert [(each.topic, each.payload, each.offset) for each in await again.retained(["#"])] == [
        ("a", b"a", 1),
        ("b", b"b", 2),
    ]


# States beside the log


async def test_states_are_written_with_the_messages_of_the_same_turn(shop: Shop) -> None:
    engine = await shop.open()
    engine.keep_state("group", "a", b"1")
    engine.keep_state("group", "a", b"2")
    await engine.append(a_message("a"))
    await engine.settled()
    assert engine.figures()["store_batches"] == 1
    assert engine.figures()["store_states_written"] == 1
    assert shop.rows("SELECT kind, name, value FROM states") == [("group", "a", b"2")]


async def test_states_alone_are_a_batch(shop: Shop) -> None:
    engine = await shop.open()
    engine.keep_state("group", "a", b"1")
    await engine.settled()
    engine.keep_state("group", "a", b"")
    engine.keep_state("group", "b", b"2")
    await engine.settled()
    assert shop.rows("SELECT name, value FROM states") == [("b", b"2")]
    assert (engine.head(), engine.figures()["store_batches"]) == (0, 2)


async def test_states_that_come_while_a_batch_is_written_are_in_the_next(shop: Shop) -> None:
    engine = await shop.open()
    shop.disk.hold()
    tasks = await started(engine.append(a_message("a")))
    engine.keep_state("group", "a", b"1")
    settled = asyncio.ensure_future(engine.settled())
    await settle()
    assert not settled.done()
    assert engine.figures()["store_states_waiting"] == 1
    shop.disk.release()
    await settled
    assert await tasks[0] == 2
    assert shop.rows("SELECT value FROM states") == [(b"1",)]


async def test_states_survive_and_are_given_out_once(shop: Shop) -> None:
    engine = await shop.open()
    for kind, name in (("session", "b"), ("session", "a"), ("group", "a")):
        engine.keep_state(kind, name, name.encode())
    await engine.close()
    again = await shop.open()
    assert again.states("session") == [("a", b"a"), ("b", b"b")]
    assert again.states("group") == [("a", b"a")]
    assert again.states("group") == again.states("nothing") == []
    await again.close()
    last = await shop.open()
    assert last.states("session") == [("a", b"a"), ("b", b"b")]


async def test_states_that_cannot_be_written_stay_to_be_written(shop: Shop) -> None:
    engine = await shop.open()
    engine.keep_state("group", "a", b"1")
    engine.keep_state("group", "b", b"1")
    shop.disk.fail("COMMIT", "SQLITE_FULL")
    with pytest.raises(EngineUnavailable, match="SQLITE_FULL"):
        await engine.settled()
    engine.keep_state("group", "b", b"2")
    with pytest.raises(EngineUnavailable):
        await engine.settled()
    await recover(shop, engine)
    await engine.settled()
    assert shop.rows("SELECT name, value FROM states ORDER BY name") == [("a", b"1"), ("b", b"2")]


async def test_states_that_failed_and_are_in_the_file_all_the_same_are_overwritten(
    shop: Shop, unsure: Unsure
) -> None:
    engine = await shop.open()
    unsure.is_unsure = True
    engine.keep_state("group", "a", b"1")
    with pytest.raises(EngineUnavailable):
        await engine.settled()
    unsure.is_unsure = False
    engine.keep_state("group", "a", b"2")
    await recover(shop, engine)
    await engine.settled()
    assert shop.rows("SELECT value FROM states") == [(b"2",)]


async def test_states_before_the_start_are_written_after_it_and_none_after_the_end(shop: Shop) -> None:
    engine = shop.make()
    engine.keep_state("group", "a", b"1")
    with pytest.raises(EngineUnavailable):
        await engine.settled()
    await engine.start(shop.taker)
    await engine.settled()
    await engine.close()
    engine.keep_state("group", "a", b"2")
    with pytest.raises(EngineUnavailable):
        await engine.settled()
    assert shop.rows("SELECT value FROM states") == [(b"1",)]


async def test_who_waits_for_states_is_told_when_it_is_closed_while_the_disk_fails(shop: Shop) -> None:
    engine = await shop.open()
    await shop.break_down(engine)
    engine.keep_state("group", "a", b"1")
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await engine.settled()


@pytest.mark.parametrize("column", ["kind", "name", "value", "checksum"])
async def test_states_that_are_not_what_was_written_are_refused(shop: Shop, column: str) -> None:
    engine = await shop.open()
    engine.keep_state("group", "a", b"1")
    await engine.close()
    with closing(sqlite3.connect(shop.path)) as connection, connection:
        connection.execute(f"UPDATE states SET {column} = 7")
    with pytest.raises(StoreRefused, match="is damaged"):
        await shop.make().start(shop.taker)


async def test_a_file_of_version_1_is_opened_and_given_what_it_lacks(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a"))
    await engine.close()
    with closing(sqlite3.connect(shop.path)) as connection, connection:
        connection.execute("DROP TABLE states")
        connection.execute("PRAGMA user_version = 1")
    again = await shop.open()
    assert again.states("group") == []
    again.keep_state("group", "a", b"1")
    await again.settled()
    assert len((await again.read(["a"], 0, 1 << 62, 10)).messages) == 1
    assert shop.rows("PRAGMA user_version") == [(VERSION,)]
    await again.close()
    assert (await shop.open()).states("group") == [("a", b"1")]


async def test_a_file_of_version_1_on_a_full_disk_is_given_what_it_lacks_when_there_is_room(
    shop: Shop,
) -> None:
    await (await shop.open()).close()
    with closing(sqlite3.connect(shop.path)) as connection, connection:
        connection.execute("DROP TABLE states")
        connection.execute("PRAGMA user_version = 1")
    shop.disk.fail("CREATE TABLE states", "SQLITE_FULL")
    engine = await shop.open()
    engine.keep_state("group", "a", b"1")
    assert engine.trouble()
    await recover(shop, engine)
    await engine.settled()
    assert shop.rows("SELECT value FROM states") == [(b"1",)]


# Topics that are not durable

FLEETING = [("f/#", Policy(messages=1000, durable=False))]


async def test_what_is_not_durable_is_not_written_and_its_loss_is_told_exactly(shop: Shop) -> None:
    engine = await shop.open(entries=FLEETING)
    for topic in ("f/a", "d", "f/b", "d"):
        await engine.append(a_message(topic, retained=True))
    assert len((await engine.read(["#"], 0, 1 << 62, 10)).messages) == 4
    assert shop.rows("SELECT offset FROM messages") == [(2,), (4,)]
    assert shop.rows("SELECT offset FROM retained") == [(2,), (4,)]
    await engine.close()
    again = await shop.open(entries=FLEETING)
    assert again.head() == 4
    for filters, after, evicted_until, found in (
        (["f/a"], 0, 1, []),
        (["f/a"], 1, 0, []),
        (["f/b"], 1, 3, []),
        (["f/#"], 3, 0, []),
        (["d"], 0, 0, [2, 4]),
        (["#"], 2, 3, [4]),
        (["#"], 3, 0, [4]),
    ):
        piece = await again.read(filters, after, 1 << 62, 10)
        assert (piece.evicted_until, [each.offset for each in piece.messages]) == (evicted_until, found)
    assert [each.offset for each in await again.retained(["#"])] == [4]


async def test_what_was_durable_before_stays_until_it_is_evicted_and_the_loss_behind_it_is_known(
    shop: Shop,
) -> None:
    engine = await shop.open(entries=[("f/#", Policy(messages=2))])
    await engine.append_many([a_message("f/a", retained=True), a_message("f/a")], [b"", b""])
    engine.set_policies(PolicyTable(Policy(messages=1000), [("f/#", Policy(messages=3, durable=False))]))
    await engine.append_many([a_message("f/a", retained=True), a_message("f/a")], [b"", b""])
    assert shop.rows("SELECT offset FROM messages ORDER BY offset") == [(1,), (2,)]
    assert shop.rows("SELECT offset FROM retained") == [], "the older one must not come back"
    await engine.close()
    for _ in range(3):
        engine = await shop.open(entries=[("f/#", Policy(messages=1, durable=False))])
        piece = await engine.read(["f/a"], 0, 1 << 62, 10)
        assert (piece.evicted_until, [each.offset for each in piece.messages]) == (4, [2])
        assert await engine.retained(["#"]) == []
        await shop.sweep(engine)
        await engine.close()


async def test_what_may_no_longer_be_retained_goes_from_the_file_after_a_restart(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("f/a", retained=True))
    await engine.close()
    again = await shop.open(entries=[("f/#", Policy(retained=False))])
    await shop.sweep(again)
    assert await again.retained(["#"]) == []
    assert shop.rows("SELECT offset FROM retained") == []


# Conditions


async def test_a_condition_is_decided_in_the_order_of_the_queue_and_told_when_it_is_certain(
    shop: Shop,
) -> None:
    engine = await shop.open()
    shop.disk.hold()
    tasks = await started(
        engine.append(a_message("a")),
        engine.append_if(a_message("a"), b"", 1),
        engine.append_if(a_message("a"), b"", 1),
        engine.append_if(a_message("b"), b"", 0),
    )
    assert not tasks[2].done(), "the one before may still be refused"
    assert (engine.figures()["store_queue_messages"], engine.figures()["store_queue_bytes"]) == (4, 3 * SIZE)
    shop.disk.release()
    assert await codes(tasks) == [2, 2, "precondition_failed", 2]
    assert [each.offset for each in (await engine.read(["a"], 0, 1 << 62, 10)).messages] == [1, 2]
    assert (engine.head(), engine.placed_last) == (3, {})
    assert (engine.figures()["store_queue_messages"], engine.figures()["store_queue_bytes"]) == (0, 0)


async def test_a_condition_that_failed_for_what_was_refused_is_refused_likewise(shop: Shop) -> None:
    engine = await shop.open()
    await engine.append(a_message("a"))
    shop.disk.fail("COMMIT")
    tasks = await started(engine.append(a_message("a")), engine.append_if(a_message("a"), b"", 1))
    assert await codes(tasks) == ["engine_unavailable", "engine_unavailable"]
    await recover(shop, engine)
    assert engine.placed_last == {}
    assert await engine.append_if(a_message("a"), b"", 1) == 2
    assert engine.head() == 2


async def test_the_last_offset_is_known_after_a_restart(shop: Shop) -> None:
    entries = [("none", Policy(messages=0)), ("fleeting", Policy(durable=False)), ("one", Policy(messages=1))]
    engine = await shop.open(entries=entries)
    for topic in ("none", "fleeting", "one", "one", "all"):
        await engine.append(a_message(topic))
    await engine.close()
    again = await shop.open(entries=entries)
    last = [again.last_offset(topic) for topic in ("none", "fleeting", "one", "all", "never")]
    assert last == [1, 2, 4, 5, 0]
    with pytest.raises(PreconditionFailed):
        await again.append_if(a_message("fleeting"), b"", 0)


async def test_a_condition_with_a_key_survives_with_its_message(shop: Shop) -> None:
    async with Broker(shop.make(), clock=shop.clock) as broker:
        first = await broker.publish("a", 1, key="k", if_last=0)
    async with Broker(shop.make(), clock=shop.clock) as broker:
        assert (await broker.publish("a", 1, key="k", if_last=0)).offset == first.offset


async def test_a_last_message_that_has_expired_is_known_after_a_restart(shop: Shop) -> None:
    engine = await shop.open(Policy(age_s=10.0), topics_limit=2)
    for topic in "ab":
        await engine.append(a_message(topic, expires_at=shop.clock.time() + 1.0))
    shop.clock.advance(10.0)
    await shop.sweep(engine)
    assert shop.rows("SELECT offset FROM messages") == []
    for _ in range(2):
        await engine.close()
        engine = await shop.open(Policy(age_s=10.0), topics_limit=2)
        assert [engine.last_offset(topic) for topic in "ab"] == [1, 2]
        assert (await engine.read(["#"], 0, 1 << 62, 10)).evicted_until == 0, "it is no loss"
    await engine.append(a_message("c"))  # `a` is forgotten
    await shop.sweep(engine)
    assert engine.last_offset("a") == 0
    assert shop.rows("SELECT name, value FROM states") == [("b", b"2")]
    await engine.close()
    again = await shop.open(Policy(age_s=10.0), topics_limit=1)
    await again.settled()
    assert shop.rows("SELECT name FROM states") == []


async def test_a_topic_is_closed_after_a_restart_as_long_as_its_last_message_was_kept(shop: Shop) -> None:
    engine = await shop.open(Policy(age_s=10.0))
    await engine.append(a_message("a", close=True))
    await engine.append(a_message("b", close=True))
    await engine.append(a_message("b", close=False))
    await engine.close()
    engine = await shop.open(Policy(age_s=10.0))
    end = engine.end("a")
    assert end is not None
    assert (end.offset, end.is_kept, engine.end("b")) == (1, True, None)
    with pytest.raises(TopicClosed):
        await engine.append(a_message("a"))
    shop.clock.advance(10.0)
    await shop.sweep(engine)
    assert engine.end("a") is not None
    await engine.close()
    engine = await shop.open(Policy(age_s=10.0))
    assert engine.end("a") is None
    await engine.close()


async def test_what_could_not_be_written_closes_nothing(shop: Shop) -> None:
    engine = await shop.open()
    shop.disk.fail("COMMIT", "SQLITE_FULL")
    with pytest.raises(EngineUnavailable):
        await engine.append(a_message("a", close=True))
    assert engine.end("a") is None
    await engine.close()


# Scheduled messages


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO messages", "DELETE FROM states", "COMMIT"])
async def test_a_message_and_the_end_of_its_state_are_one(shop: Shop, statement: str) -> None:
    engine = await shop.open()
    engine.keep_state("scheduled", "x", b"1")
    await engine.settled()
    shop.disk.fail(statement)
    with pytest.raises(EngineUnavailable):
        await engine.append_forgetting(a_message("a"), b"", "scheduled", "x")
    await recover(shop, engine)
    assert shop.rows("SELECT name FROM states") == [("x",)]
    assert await engine.append_forgetting(a_message("a"), digest("a", "k"), "scheduled", "x") == 2
    assert shop.rows("SELECT name FROM states") == []
    assert shop.rows("SELECT offset FROM keys") == [(1,)]


def counted(shop: Shop) -> tuple[object, object]:
    """Return how many states and how many messages are in the file."""
    [[states]], [[messages]] = (
        shop.rows("SELECT count(*) FROM states"),
        shop.rows("SELECT count(*) FROM messages"),
    )
    return states, messages


async def test_a_scheduled_message_is_published_once_whenever_the_process_ends(shop: Shop) -> None:
    """What is in the file after each transaction is what a process that is killed there leaves."""
    deliver_at = shop.clock.time() + 1.0
    async with Broker(shop.make(), clock=shop.clock) as broker:
        await broker.publish("a", 1, deliver_at=deliver_at)
        assert shop.rows("SELECT count(*) FROM states UNION ALL SELECT count(*) FROM messages") == [
            (1,),
            (0,),
        ]
    shop.clock.advance(1000.0)  # longer than any key is remembered
    async with Broker(shop.make(), clock=shop.clock) as broker:
        engine = broker.engine
        assert isinstance(engine, SQLiteEngine)
        assert broker.scheduler.task is not None
        await broker.scheduler.task
        assert shop.rows("SELECT count(*) FROM states UNION ALL SELECT count(*) FROM messages") == [
            (0,),
            (1,),
        ]
    async with Broker(shop.make(), clock=shop.clock) as broker:
        assert len((await broker.history("a")).messages) == 1
        assert (await broker.scheduled()).messages == []


async def test_a_scheduled_message_waits_for_a_disk_that_fails(shop: Shop, unsure: Unsure) -> None:
    async with Broker(shop.make(), clock=shop.clock) as broker:
        engine = broker.engine
        assert isinstance(engine, SQLiteEngine)
        await broker.publish("a", 1, deliver_at=shop.clock.time() + 1.0)
        await shop.sweep(engine)
        unsure.is_unsure = True
        shop.clock.advance(1.0)
        broker.sweep()
        assert broker.scheduler.task is not None
        await broker.scheduler.task
        assert engine.trouble()
        assert counted(shop) == (0, 1), "the transaction is in the file all the same"
        unsure.is_unsure = False
        await recover(shop, engine)
        await engine.settled()
        assert shop.rows("SELECT count(*) FROM states UNION ALL SELECT count(*) FROM messages") == [
            (1,),
            (0,),
        ]
        broker.sweep()
        await broker.scheduler.task
        await engine.until_idle()
        assert shop.rows("SELECT count(*) FROM states UNION ALL SELECT count(*) FROM messages") == [
            (0,),
            (1,),
        ]
