"""The engines that the shared suite is run on. Another one joins with a line in `ENGINES`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from broker.engines import SQLiteEngine
from extra.pubsub import Engine, MemoryEngine, Policy, PolicyTable
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine

__all__ = ["ENGINES", "Terms", "memory", "sqlite"]


@dataclass
class Terms:
    """What an engine is made with: its clock, what it may keep, and a directory of its own."""

    directory: Path = field(default_factory=Path)
    clock: FakeClock = field(default_factory=FakeClock)
    default: Policy = field(default_factory=lambda: Policy(messages=1_000))
    entries: list[tuple[str, Policy]] = field(default_factory=list)
    total_limit_bytes: int = 1 << 30
    topics_limit: int = 1_000_000
    retained_limit_messages: int = 1_000
    retained_limit_bytes: int = 1 << 30
    durability: str = "full"


def memory(terms: Terms) -> MemoryEngine:
    return MemoryEngine(
        PolicyTable(terms.default, terms.entries),
        clock=terms.clock,
        total_limit_bytes=terms.total_limit_bytes,
        topics_limit=terms.topics_limit,
        retained_limit_messages=terms.retained_limit_messages,
        retained_limit_bytes=terms.retained_limit_bytes,
    )


def sqlite(terms: Terms) -> SQLiteEngine:
    return SQLiteEngine(
        str(terms.directory / "store.db"),
        PolicyTable(terms.default, terms.entries),
        durability=terms.durability,
        clock=terms.clock,
        total_limit_bytes=terms.total_limit_bytes,
        topics_limit=terms.topics_limit,
        retained_limit_messages=terms.retained_limit_messages,
        retained_limit_bytes=terms.retained_limit_bytes,
    )


ENGINES: dict[str, Callable[[Terms], Engine]] = {
    "memory": memory,
    "slow": lambda terms: SlowEngine(memory(terms), Random(1)),
    "sqlite": sqlite,
}
