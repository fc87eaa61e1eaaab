"""Runs tests of what differs between event loops on both."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest
import uvloop

__all__ = ["run"]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[object, object, None]], None]:
    """Runs a coroutine on one kind of event loop."""

    def run_on(coroutine: Coroutine[object, object, None]) -> None:
        make_loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(coroutine)

    return run_on
