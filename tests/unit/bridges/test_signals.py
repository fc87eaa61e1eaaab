"""Signals are noted, and passed on to the host."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from extra.bridges.signals import Watch


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What the host's own handler of SIGTERM has heard."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


async def test_signal_is_noted_and_passed_on(heard: list[int]) -> None:
    noted = asyncio.Event()
    own = signal.getsignal(signal.SIGTERM)
    with Watch(noted.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await noted.wait()
        assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is own


async def test_host_that_uses_the_event_loop_is_told_as_well() -> None:
    noted, told = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    with Watch(noted.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await noted.wait()
        await told.wait()
    loop.remove_signal_handler(signal.SIGTERM)


async def test_handler_that_the_host_has_set_meanwhile_stays(heard: list[int]) -> None:
    def later(number: int, frame: object) -> None: ...

    with Watch(lambda: None):
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later


async def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Watch(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_other_threads_cannot_watch_and_do_not_fail(heard: list[int]) -> None:
    own = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        async def look() -> None:
            with Watch(lambda: None):
                seen.append(signal.getsignal(signal.SIGTERM))

        asyncio.run(look())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [own]


@pytest.mark.slow
def test_default_ends_the_process() -> None:
    program = (
        "import asyncio, os, signal\n"
        "from extra.bridges.signals import Watch\n"
        "async def main():\n"
        "    with Watch(lambda: print('noted', flush=True)):\n"
        "        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
