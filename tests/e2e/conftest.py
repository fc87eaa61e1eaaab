"""One daemon that tests share, and any number of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from tests.e2e.daemon import Daemon

__all__ = ["Start", "daemon", "shared_daemon", "start", "topic"]

Start = Callable[..., Daemon]

_numbers = count(1)


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """A broker with the usual settings, which other tests use as well: keep to topics below `topic`."""
    yield shared_daemon
    assert shared_daemon.is_running
    assert not shared_daemon.troubles, "\n".join(shared_daemon.troubles)


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"test/{next(_numbers)}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts brokers with options of their own, and ends them after the test."""
    with ExitStack() as running:

        def start_one(*options: str) -> Daemon:
            return running.enter_context(Daemon(*options))

        yield start_one
