"""What is measured beside what: how each server is started, and how one speaks to it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from loadtest.processes import Server, announced

__all__ = ["ADDRESSED_FLOOR", "EXTRA", "EXTRA_EVENTS", "FLOOR", "HELLO", "Target", "broker"]


@dataclass(frozen=True)
class Target:
    """A server. `start` starts it, `dialect` is what its subscribers speak."""

    dialect: str
    start: Callable[[], AbstractContextManager[Server]]


def broker(*options: str) -> AbstractContextManager[Server]:
    """Start extra-broker with its defaults, apart from these options."""
    return announced("-m", "broker", "--port", "0", "--log-level", "warning", *options)


def floor() -> AbstractContextManager[Server]:
    """Start the floor."""
    return announced("-m", "loadtest.servers.floor")


def hello() -> AbstractContextManager[Server]:
    """Start the bare HTTP server."""
    return announced("-m", "loadtest.servers.hello")


FLOOR = Target("raw", floor)
ADDRESSED_FLOOR = Target("addressed", floor)
HELLO = Target("", hello)
EXTRA = Target("extra", broker)
EXTRA_EVENTS = Target("extra-sse", broker)
