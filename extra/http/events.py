"""Server-sent events from whatever gives them (`Request.sse`)."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final, NamedTuple

import msgspec

from extra.http.parts import Parts
from extra.http.response import Response
from extra.protocols.sse import event

__all__ = ["ServerSentEvent", "event_response"]

HEADERS: Final = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))


class ServerSentEvent(NamedTuple):
    """One event. `data` is text, bytes of UTF-8, or what is written as JSON; None sends the rest alone."""

    data: object = None
    id: str | None = None
    event: str | None = None
    retry_ms: int | None = None


def event_response(source: AsyncIterable[object]) -> Response:
    """Return a response that sends what `source` gives: events, or the data of some."""
    return Response(200, Parts(_events(source)), content_type="text/event-stream", headers=HEADERS)


async def _events(source: AsyncIterable[object]) -> AsyncIterator[bytes]:
    yield b":\n\n"  # the first bytes, so that what stands between lets the rest through
    iterator = aiter(source)
    try:
        async for item in iterator:
            each = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
            yield event(_data_of(each.data), id=each.id, event=each.event, retry_ms=each.retry_ms)
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def _data_of(data: object) -> bytes | None:
    if data is None or isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else msgspec.json.encode(data)
