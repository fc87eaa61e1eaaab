"""Runs every async test of this package on each event loop that channels are said to work on."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.unit.channels.driving import LOOPS, NewLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, NewLoop]:
    return LOOPS


@pytest.fixture(params=list(LOOPS))
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    """What makes the event loop, for tests that run one of their own."""
    return LOOPS[request.param]


@pytest.fixture(autouse=True)
async def failed_callbacks() -> AsyncIterator[None]:
    """Fail the test when a callback of the loop has failed, which the loop would only log."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert failures == []
