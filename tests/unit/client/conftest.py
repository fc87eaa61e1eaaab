"""A client of a broker that does what the test says, and what it leaves behind: nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from extra.client import Client
from extra.client.surroundings import Surroundings
from tests.fakes.websocket_broker import WebSocketBroker

__all__ = ["Pauses"]


class Pauses:
    """Stands in for `asyncio.sleep`: notes for how long, and returns at once unless held."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, delay: float) -> None:
        self.delays.append(delay)
        await self.go_on.wait()


@pytest.fixture
async def broker() -> AsyncIterator[WebSocketBroker]:
    async with WebSocketBroker() as listening:
        yield listening


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def make(broker: WebSocketBroker, pauses: Pauses) -> Callable[..., Client]:
    """Return what makes a client of the broker: its pauses take no time, its back-off is at its bounds."""

    def make_client(**options: Any) -> Client:  # any option of Client, or its chance or time
        own = {name: options.pop(name) for name in ("random", "clock") if name in options}
        surroundings = Surroundings(sleep=pauses, **{"random": lambda: 1.0, **own})
        return Client(broker.url, _surroundings=surroundings, **options)

    return make_client


@pytest.fixture
async def leaves_no_task() -> AsyncIterator[None]:
    """For tests that have to end what they begin."""
    before = asyncio.all_tasks()
    yield
    after = asyncio.all_tasks() - {asyncio.current_task()}
    assert not after - before
