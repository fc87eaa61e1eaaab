"""Bodies between the connection that feeds them and the handler that takes them."""

import asyncio

import pytest

from extra.errors import LocalProtocolError
from extra.http import Body, BodySource, BodyTooLarge, BodyTruncated


class Source(BodySource):
    """Counts how often it was asked, and may answer at once."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: list[bytes] = []
        self.body: Body | None = None

    def body_wanted(self) -> None:
        self.asked += 1
        if self.body is not None and self.answer:
            self.body.feed(self.answer.pop(0))


async def test_what_is_there_is_taken_without_asking() -> None:
    source = Source()
    body = Body(source, length=5)
    body.feed(b"he")
    body.feed(b"llo")
    body.end()
    assert (body.buffered_bytes, body.received_bytes, body.ended) == (5, 5, True)
    assert [await body.read() for _ in range(4)] == [b"he", b"llo", b"", b""]
    assert (body.buffered_bytes, body.received_bytes, source.asked) == (0, 5, 0)


async def test_reader_waits_and_the_source_is_asked() -> None:
    source = Source()
    body = Body(source)
    reading = asyncio.create_task(body.read_all())
    await asyncio.sleep(0)
    assert (source.asked, body.awaited) == (1, True)
    body.feed(b"a")
    await asyncio.sleep(0)
    assert source.asked == 2
    body.feed(b"b")
    body.end()
    assert await reading == b"ab"
    assert not body.awaited


async def test_source_may_answer_while_it_is_asked() -> None:
    source = Source()
    body = source.body = Body(source)
    source.answer = [b"a", b"b"]
    assert [await body.read(), await body.read()] == [b"a", b"b"]


@pytest.mark.parametrize("length", [11, None])
async def test_body_beyond_the_limit_is_refused_as_early_as_it_is_known(length: int | None) -> None:
    source = Source()
    body = Body(source, length=length, limit_bytes=10)
    if length is None:
        body.feed(b"x" * 11)
    with pytest.raises(BodyTooLarge, match=r"^body larger than body_limit_bytes=10$") as caught:
        await body.read_all()
    assert (caught.value.status, caught.value.code, source.asked) == (413, "limit_exceeded", 0)


async def test_body_may_be_as_large_as_the_limit() -> None:
    body = Body(Source(), length=10, limit_bytes=10)
    body.feed(b"x" * 10)
    body.end()
    assert await body.read_all() == b"x" * 10


async def test_failure_comes_after_what_has_arrived_and_stays() -> None:
    source = Source()
    body = Body(source)
    body.feed(b"a")
    body.fail(BodyTruncated("cut"))
    body.fail(BodyTruncated("again"))
    assert body.failed
    assert await body.read() == b"a"
    for _ in range(2):
        with pytest.raises(BodyTruncated, match="cut"):
            await body.read()
    assert source.asked == 0


async def test_failure_wakes_the_reader() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.fail(BodyTruncated("cut"))
    with pytest.raises(BodyTruncated):
        await reading


async def test_reading_can_be_cancelled_and_nothing_is_lost() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.feed(b"a")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    body.end()
    assert await body.read_all() == b"a"


async def test_two_readers_are_one_too_many() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="two tasks take one body"):
        await body.read()
    body.end()
    assert await reading == b""


async def test_body_that_has_ended_is_taken_at_once() -> None:
    for parts in ([], [b"hello"], [b"he", b"", b"llo"]):
        body = Body(Source(), length=5, limit_bytes=5)
        for part in parts:
            body.feed(part)
        body.end()
        assert body.take_all() == b"".join(parts)
        assert (body.buffered_bytes, body.take_all(), await body.read()) == (0, b"", b"")
    body = Body(Source(), limit_bytes=4)
    body.feed(b"hello")
    body.end()
    with pytest.raises(BodyTooLarge):
        body.take_all()
