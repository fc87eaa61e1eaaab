import asyncio

from extra.pubsub.search import Search, finish
from tests.fakes.clock import FakeClock


class Countdown(Search):
    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.asked: list[tuple[float, float]] = []

    def advance(self, now: float, time: float) -> bool:
        self.asked.append((now, time))
        self.pieces -= 1
        return self.pieces == 0


async def test_others_run_between_the_pieces() -> None:
    search, clock = Countdown(3), FakeClock()
    searching = asyncio.ensure_future(finish(search, clock))
    for pieces in (2, 1, 0):
        await asyncio.sleep(0)
        assert search.pieces == pieces
    await searching
    assert search.asked == [(clock.now(), clock.time())] * 3


async def test_one_piece_is_done_at_once() -> None:
    search = Countdown(1)
    finish(search, FakeClock()).close()
    coroutine = finish(search, FakeClock())
    try:
        coroutine.send(None)
    except StopIteration:
        assert search.pieces == 0
    else:
        raise AssertionError("it has suspended")
