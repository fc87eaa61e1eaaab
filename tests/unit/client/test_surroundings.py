"""What a client has of the world when nobody brings anything else."""

import asyncio
import inspect
import time

from extra.client import Client
from extra.client.surroundings import Surroundings


async def test_the_usual_ones_are_those_of_the_standard_library() -> None:
    usual = Surroundings()
    assert 0.0 <= usual.random() < 1.0
    before = time.monotonic()
    assert before <= usual.clock() <= time.monotonic()
    await usual.sleep(0)
    assert usual.sleep is asyncio.sleep


def test_they_are_no_public_option_of_a_client() -> None:
    names = [name for name in inspect.signature(Client).parameters if not name.startswith("_")]
    assert not {"random", "clock", "sleep"} & set(names)
