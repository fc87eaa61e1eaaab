"""The body of a response that comes in parts, from whatever gives them."""

from asyncio import CancelledError, Task, current_task
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from types import TracebackType

import msgspec

__all__ = ["BINARY", "LINES", "TEXT", "Parts"]

BINARY = "application/octet-stream"
LINES = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"


class Parts(AsyncGenerator[bytes, None]):
    """Bytes as they are, text in UTF-8, and anything else as lines of JSON.

    With `begin`, the first part is waited for before anything has been sent: what goes wrong until then can
    still be answered, and `content_type` says what there will be. Closing it closes the source, however far
    it came.
    """

    __slots__ = ("_ended", "_ending", "_first", "_source", "_waiting", "content_type")

    def __init__(self, source: AsyncIterable[object]) -> None:
        self._source: AsyncIterator[object] = aiter(source)
        self._ended: list[Callable[[], None]] | None = []  # None when it has been closed
        self._first: list[bytes] = []
        self._ending = False
        self._waiting: Task[object] | None = None  # for the source
        self.content_type: str | None = None

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have `call` called when this is closed, or has come to its end; at once if it has."""
        if self._ended is None:
            call()
        else:
            self._ended.append(call)

    async def begin(self) -> None:
        """Wait for the first part, or the end."""
        try:
            first = await anext(self._source)
        except StopAsyncIteration:
            await self.aclose()
            return
        except BaseException:
            await self.aclose()
            raise
        self.content_type = BINARY if isinstance(first, bytes) else TEXT if isinstance(first, str) else LINES
        self._first.append(encode_part(first))

    async def __anext__(self) -> bytes:
        if self._first:
            return self._first.pop()
        if self._ending:
            await self.aclose()
            raise StopAsyncIteration
        self._waiting = current_task()
        try:
            return encode_part(await anext(self._source))
        except CancelledError:
            await self.aclose()
            if self._ending and self._waiting is not None and not self._waiting.uncancel():
                raise StopAsyncIteration from None
            raise
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._waiting = None

    def end(self) -> None:
        """Let there be no more, also where one is being waited for: the body ends as if that were all."""
        if not self._ending:
            self._ending = True
            if self._waiting is not None:
                self._waiting.cancel()

    async def asend(self, value: None) -> bytes:
        return await self.__anext__()

    async def athrow(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> bytes:
        await self.aclose()
        raise kind

    async def aclose(self) -> None:
        """Close the source. Idempotent."""
        self._first.clear()
        ended, self._ended = self._ended, None
        if ended is None:
            return
        try:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()
        finally:
            for call in ended:
                call()


def encode_part(part: object) -> bytes:
    """Return one part as it is sent. Raises TypeError for what cannot be written as JSON."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode()
    return msgspec.json.encode(part) + b"\n"
