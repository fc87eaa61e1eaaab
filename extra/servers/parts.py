"""Sending a body that comes in parts. Not compiled, which is why it is by itself.

A compiled coroutine that iterates, awaits in its `finally` and is left by an exception leaves that exception
behind: the next such loop that does not suspend raises it at its end. Seen with the mypyc of mypy 2.4.1, in
`tests/unit/servers/test_parts.py`.
"""

from collections.abc import AsyncGenerator, AsyncIterable

from extra.protocols.http1 import chunk
from extra.servers.flow import Flow

__all__ = ["send_parts"]


async def send_parts(flow: Flow, parts: AsyncIterable[bytes], length: int | None, chunked: bool) -> int:
    """Send `parts` as fast as the peer takes them, and return how many bytes they were.

    Stops at what is more than `length`, which is not sent. The parts are closed in any case.
    """
    size = 0
    try:
        async for part in parts:
            size += len(part)
            if length is not None and size > length:
                break
            flow.write(chunk(part) if chunked else part)
            if not flow.writable:
                await flow.drain()
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()
    return size
