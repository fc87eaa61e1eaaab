"""What is measured beside what: how each server is started, and how one speaks to it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from loadtest.processes import Server, announced

__all__ = ["ADDRESSED_FLOOR", "EXTRA", "EXTRA_EVENTS", "FLOOR", "Target", "broker"]


@dataclass(frozen=True)
class Target:
    """A server. `start` starts it, `dialect` is what its subscribers speak."""

    name: str
    dialect: str
    start: Callable[[], AbstractContextManager[Server]]


def broker(*options: str) -> AbstractContextManager[Server]:
    """Start extra-broker with its defaults, apart from these options."""
    return announced("-m", "broker", "--port", "0", "--log-level", "warning", *options)


def floor() -> AbstractContextManager[Server]:
    """Start the floor."""
    return announced("-m", "loadtest.servers.floor")


FLOOR = Target("floor", "raw", floor)
ADDRESSED_FLOOR = replace(FLOOR, dialect="addressed")
EXTRA = Target("extra-broker", "extra", broker)
EXTRA_EVENTS = Target("extra-broker, SSE", "extra-sse", broker)
