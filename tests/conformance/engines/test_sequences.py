"""Any sequence of operations gives the same answers on every engine, however often a lasting one starts anew.

The memory engine goes through it once. An engine with a file is closed and opened, and is killed: what goes
on then is a copy of its files as they stood, as a process that was killed leaves them.
"""

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.engines import SQLiteEngine
from extra.errors import ExtraError
from extra.pubsub import Delivery, Engine, Message, Policy
from tests.conformance.engines.engines import Terms, memory, sqlite
from tests.conformance.engines.test_engines import Taker
from tests.fakes.clock import FakeClock

TOPICS = ["a", "a/b", "a/c", "d", "d/e", "f"]
FILTERS = [["#"], ["a/#"], ["a", "d/+"], ["+"], ["f"], ["nowhere"]]
SIZE = Message("a", b"").size
KEEP_ALL = Policy(messages=1000)

Action = tuple[str, int, int]
Answer = object


@dataclass
class Lane:
    """One engine on its way through the sequence."""

    terms: Terms
    engine: Engine
    taker: Taker

    async def do(self, action: Action) -> Answer:
        verb, number, amount = action
        topic = TOPICS[number % len(TOPICS)]
        if verb == "append":
            return await self.append([self.message(topic, amount)], [b""])
        if verb == "many":
            topics = [TOPICS[(number + index) % len(TOPICS)] for index in range(amount)]
            return await self.append([self.message(each, 0) for each in topics], [b""] * amount)
        if verb == "together":
            messages = [self.message(TOPICS[(number + index) % len(TOPICS)], 0) for index in range(amount)]
            return list(await asyncio.gather(*(self.engine.append(message) for message in messages)))
        if verb == "retain":
            return await self.append([self.message(topic, amount, retained=True)], [b""])
        if verb == "expiring":
            ttl, retained = amount * 0.5, number % 2 == 0
            return await self.append([self.message(topic, 0, ttl=ttl, retained=retained)], [b""])
        if verb == "clear":
            return await self.engine.clear(topic)
        if verb == "sweep":
            self.engine.sweep()
        if verb == "state":
            self.keep_state("odd" if number % 2 else "even", topic, b"." * (amount % 4))
        return None

    def keep_state(self, kind: str, name: str, value: bytes) -> None:
        self.engine.keep_state(kind, name, value)

    async def append(self, messages: list[Message], keys: list[bytes]) -> Answer:
        answers = await self.engine.append_many(messages, keys)
        return [answer.code if isinstance(answer, ExtraError) else answer for answer in answers]

    def message(self, topic: str, size: int, ttl: float = 0.0, retained: bool = False) -> Message:
        expires_at = self.terms.clock.time() + ttl if ttl else 0.0
        headers = {"size": str(size)} if size % 3 else None
        return Message(topic, b"." * size, "text", headers=headers, expires_at=expires_at, retained=retained)

    async def answers(self) -> list[Answer]:
        """Ask everything that an engine can be asked."""
        engine = self.engine
        head = engine.head()
        found: list[Answer] = [head, [described(message) for message in self.taker.messages]]
        for filters in FILTERS:
            for after in {0, head // 2, head}:
                piece = await engine.read(filters, after, 1 << 62, 100)
                found.append((filters, after, piece.position, [described(each) for each in piece.messages]))
                found.append(piece.evicted_until)
            found.append([await engine.before_last(filters, count) for count in (1, 3)])
            found.append([described(each) for each in await engine.retained(filters)])
        figures = engine.figures()
        found.append([figures["retained_messages"], figures["retained_bytes"]])
        return found


def described(message: Message) -> Answer:
    return (
        message.topic,
        message.offset,
        message.payload,
        message.kind,
        message.headers,
        message.time,
        message.expires_at,
        message.retained,
    )


class Restarting(Lane):
    """A lane whose engine can be closed and killed."""

    has_expiring = False
    states: dict[tuple[str, str], bytes]
    """What of the states is to be there after a restart."""

    def keep_state(self, kind: str, name: str, value: bytes) -> None:
        super().keep_state(kind, name, value)
        self.states[kind, name] = value

    async def do(self, action: Action) -> Answer:
        self.has_expiring |= action[0] == "expiring"
        if action[0] not in ("restart", "kill"):
            return await super().do(action)
        assert isinstance(self.engine, SQLiteEngine)
        engine, epoch = self.engine, self.engine.epoch()
        if action[0] == "kill":
            if self.has_expiring:  # what was evicted is lost; unless it is found again, and has expired since
                engine.sweep()
            await asyncio.sleep(0)  # what is due is handed over
            await engine.until_idle()
            former = self.terms.directory
            self.terms.directory = former.parent / f"{former.name}k"
            self.terms.directory.mkdir()
            for name in ("store.db", "store.db-wal", "store.db-lock"):
                shutil.copy(former / name, self.terms.directory)
        await engine.close()
        self.engine = sqlite(self.terms)
        await self.engine.start(self.taker)
        assert self.engine.epoch() == epoch
        for kind in ("odd", "even"):
            kept = {name: value for (each, name), value in self.states.items() if each == kind and value}
            assert self.engine.states(kind) == sorted(kept.items())
        return None


async def run(actions: list[Action], terms: Terms) -> None:
    """Take both lanes through the sequence, and compare them after each step."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        terms.directory = directory / "x"
        terms.directory.mkdir()
        lanes: list[Lane] = []
        for kind, make in ((Lane, memory), (Restarting, sqlite)):
            taker: Delivery = Taker()
            assert isinstance(taker, Taker)
            engine: Engine = make(terms)
            await engine.start(taker)
            lane = kind(terms, engine, taker)
            if isinstance(lane, Restarting):
                lane.states = {}
            stack.push_async_callback(close, lane)
            lanes.append(lane)
        one, other = lanes
        for action in actions:
            if action[0] == "wait":
                terms.clock.advance(action[2] * 0.25)
                continue
            assert await one.do(action) == await other.do(action), action
            assert await one.answers() == await other.answers(), action


async def close(lane: Lane) -> None:
    await lane.engine.close()


VERBS = [
    "append",
    "many",
    "together",
    "retain",
    "retain",
    "expiring",
    "clear",
    "sweep",
    "state",
    "wait",
    "restart",
    "kill",
]

ACTIONS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 11), st.integers(1, 9)), min_size=1, max_size=25
)

TERMS = {
    "ample": Terms(default=KEEP_ALL),
    "few": Terms(default=Policy(messages=2), entries=[("d", Policy(messages=0)), ("f", KEEP_ALL)]),
    "young": Terms(default=Policy(messages=100, age_s=2.0)),
    "small": Terms(default=KEEP_ALL, total_limit_bytes=SIZE * 5, retained_limit_bytes=SIZE * 3),
    "retaining few": Terms(default=KEEP_ALL, retained_limit_messages=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TERMS))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
@example(actions=[("append", 0, 1), ("kill", 0, 1), ("append", 0, 1), ("restart", 0, 1), ("append", 0, 1)])
@example(actions=[("retain", 0, 1), ("retain", 0, 1), ("clear", 0, 1), ("kill", 0, 1)])  # came back
@example(actions=[("retain", 0, 1), ("many", 0, 9), ("kill", 0, 1), ("clear", 0, 1), ("kill", 0, 1)])
@example(actions=[("expiring", 0, 1), ("wait", 0, 9), ("restart", 0, 1), ("append", 0, 1)])
def test_any_sequence_gives_the_same_answers(name: str, actions: list[Action]) -> None:
    asyncio.run(run(actions, replace(TERMS[name], clock=FakeClock(), durability="normal")))
