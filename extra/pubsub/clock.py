"""The clock that the core is given, so that tests can move time."""

import time
from abc import ABC, abstractmethod
from typing import final

from mypy_extensions import mypyc_attr

__all__ = ["Clock", "SystemClock"]


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Clock(ABC):
    """Two readings of time, both in seconds."""

    @abstractmethod
    def now(self) -> float:
        """Return the monotonic time: for ages and deadlines."""

    @abstractmethod
    def time(self) -> float:
        """Return the Unix time: for what people and other machines read."""


@final
@mypyc_attr(native_class=True)
class SystemClock(Clock):
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()
