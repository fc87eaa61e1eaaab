"""What a client has of the world besides the network: chance, time and pauses. Tests bring their own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`random` gives numbers from 0 up to 1, `clock` monotonic seconds; `sleep` waits for some."""

    random: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
