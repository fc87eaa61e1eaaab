"""Bodies in parts."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from extra.http import Parts
from extra.http.parts import BINARY, LINES, TEXT


class Source:
    """Gives `parts`, and notes whether it was closed."""

    def __init__(self, *parts: object) -> None:
        self.closed = 0
        self.parts = parts

    async def __call__(self) -> AsyncIterator[object]:
        try:
            for part in self.parts:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.closed += 1


@pytest.mark.parametrize(
    ("parts", "content_type", "sent"),
    [
        ((b"a", b"b"), BINARY, [b"a", b"b"]),
        (("ä", "b"), TEXT, ["ä".encode(), b"b"]),
        (({"n": 1}, [2], None), LINES, [b'{"n":1}\n', b"[2]\n", b"null\n"]),
        ((), None, []),
    ],
)
async def test_first_part_says_what_it_is(
    parts: tuple[object, ...], content_type: str, sent: list[bytes]
) -> None:
    body = Parts(Source(*parts)())
    await body.begin()
    assert body.content_type == content_type
    assert [part async for part in body] == sent


async def test_what_fails_before_the_first_part_fails_at_once() -> None:
    source = Source(ZeroDivisionError())
    ended: list[int] = []
    body = Parts(source())
    body.when_ended(lambda: ended.append(1))
    with pytest.raises(ZeroDivisionError):
        await body.begin()
    assert (source.closed, ended) == (1, [1])


async def test_source_is_closed_wherever_it_stands() -> None:
    for taken in (0, 1, 2):
        source = Source("a", "b", "c")
        ended: list[int] = []
        body = Parts(source())
        body.when_ended(partial(ended.append, 1))
        await body.begin()
        for _ in range(taken):
            await anext(body)
        await body.aclose()
        await body.aclose()
        body.when_ended(partial(ended.append, 2))
        assert (source.closed, ended) == (1, [1, 2])
        with pytest.raises(StopAsyncIteration):
            await anext(body)


async def test_part_that_cannot_be_written_ends_it() -> None:
    source = Source("a", object())
    body = Parts(source())
    await body.begin()
    assert await anext(body) == b"a"
    with pytest.raises(TypeError):
        await anext(body)
    assert source.closed == 1


async def test_any_iterator_will_do() -> None:
    class Count:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> "Count":
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    body = Parts(Count())
    assert [part async for part in body] == [b"1\n", b"0\n"]
    await body.aclose()


@pytest.mark.parametrize("begun", [False, True])
async def test_body_may_be_ended_where_it_waits(begun: bool) -> None:
    seen: list[str] = []
    waiting = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            waiting.set()
            await asyncio.Event().wait()
            yield "b"
        finally:
            seen.append("closed")

    body = Parts(source())
    if begun:
        await body.begin()

    async def take() -> list[bytes]:
        taken = [part async for part in body]
        await asyncio.sleep(0)  # who takes is not cancelled
        return taken

    taking = asyncio.create_task(take())
    await waiting.wait()
    body.end()
    body.end()
    assert await taking == [b"a"]
    assert seen == ["closed"]
    with pytest.raises(StopAsyncIteration):
        await anext(body)


async def test_body_that_is_ended_before_gives_what_it_has() -> None:
    body = Parts(Source("a", "b")())
    await body.begin()
    body.end()
    assert [part async for part in body] == [b"a"]


async def test_cancelling_whoever_takes_is_no_end() -> None:
    waiting = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        waiting.set()
        await asyncio.Event().wait()
        yield "a"

    body = Parts(source())
    taking = asyncio.create_task(anext(body))
    await waiting.wait()
    body.end()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
