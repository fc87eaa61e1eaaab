"""Work of unknown length in pieces of bounded length, between which the event loop turns."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from extra.pubsub.clock import Clock

__all__ = ["SEARCH_STEPS", "Search", "finish"]

SEARCH_STEPS: Final = 16_384
"""So many steps are taken in one piece, over messages, blocks and branches of tries: some 5 ms."""


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Search(ABC):
    """Something that is being looked for. The place where it is looked for may change meanwhile."""

    @abstractmethod
    def advance(self, now: float, time: float) -> bool:
        """Take up to about `SEARCH_STEPS` steps; return whether the search is over."""


async def finish(search: Search, clock: Clock) -> None:
    """Bring a search to its end. Suspends only when one piece was not enough."""
    while not search.advance(clock.now(), clock.time()):  # noqa: ASYNC110 - it works, and does not wait
        await asyncio.sleep(0)
