"""The standard streams, as a Unix filter treats them."""

import asyncio
import fcntl
import os
import select
import signal
import stat
import sys
from collections.abc import AsyncGenerator
from typing import IO, Any, Final, NoReturn

__all__ = [
    "LINE_LIMIT_BYTES",
    "StreamError",
    "end_by_signal",
    "end_with_reader",
    "read_lines",
    "warn",
    "write_line",
    "write_out",
]

LINE_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""The longest line that is read; what a broker takes is its own, much lower `broker.max_payload_bytes`."""

CHUNK_BYTES: Final = 65_536


class StreamError(Exception):
    """A standard stream is closed or fails, or brings a line that is too long."""


def write_out(data: bytes) -> None:
    """Write all of `data` to standard output, at once and unbuffered.

    When nobody reads the output any more, this ends the process, quietly, as SIGPIPE ends other filters.

    Raises:
        StreamError: it cannot be written: a full disk, a closed descriptor.
    """
    descriptor = _output()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares the terminal or pipe has made it non-blocking
            select.select([], [descriptor], [])
        except BrokenPipeError:
            end_by_signal(signal.SIGPIPE)
        except OSError as error:
            raise StreamError(f"standard output cannot be written: {error.strerror}") from None


async def write_line(line: bytes) -> None:
    """As `write_out`, but while nobody takes the output the event loop goes on.

    Cancel-safe only before the first byte: a cancelled line may be there in part.
    """
    descriptor = _output()
    for start in range(0, len(line), select.PIPE_BUF):  # so much fits where there is any room
        if not select.select([], [descriptor], [], 0)[1]:
            await _writable(descriptor)
        write_out(line[start : start + select.PIPE_BUF])


def end_with_reader() -> None:
    """Let the running event loop end this process, as SIGPIPE does, when the reader of a pipe goes away.

    Otherwise `sub FILTER | head -1` would stay until there is a second message.
    """
    descriptor = _output()
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    if is_pipe and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        # The writing end has nothing to read: the one thing that can be told of it is an error.
        asyncio.get_running_loop().add_reader(descriptor, end_by_signal, signal.SIGPIPE)


def warn(text: str) -> None:
    """Write lines of diagnosis to standard error; where there is none, nothing."""
    if sys.stderr is not None:
        sys.stderr.writelines([f"extra-broker: {line}\n" for line in text.split("\n")])
        sys.stderr.flush()


def end_by_signal(number: signal.Signals) -> NoReturn:
    """End this process by a signal's default action, so that a shell sees 128 + `number` and why."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    raise AssertionError(f"{number.name} is blocked")


async def read_lines(file: IO[Any] | None) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a file, pipe or terminal as they come, without their line feeds.

    Bytes are bytes: NUL and carriage returns stay. A last line without a line feed counts.

    Raises:
        StreamError: it is closed or cannot be read, or a line is longer than `LINE_LIMIT_BYTES`.
    """
    if file is None:  # `<&-`
        raise StreamError("standard input is closed")
    parts: list[bytes] = []
    size = 0
    while chunk := await _read_chunk(file.fileno()):
        first, *others = chunk.split(b"\n")
        for line in others:
            parts.append(first)
            yield b"".join(parts)
            parts, size, first = [], 0, line
        parts.append(first)
        size += len(first)
        if size > LINE_LIMIT_BYTES:
            raise StreamError(f"a line of input is longer than {LINE_LIMIT_BYTES:,} bytes")
    if size:
        yield b"".join(parts)


async def _read_chunk(descriptor: int) -> bytes:
    """Return what can be read, as soon as there is something; nothing at the end. Cancel-safe."""
    while True:
        await _readable(descriptor)
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # somebody else has taken it
            continue
        except OSError as error:
            raise StreamError(f"standard input cannot be read: {error.strerror}") from None


def _output() -> int:
    if sys.stdout is None:  # `>&-`: by now descriptor 1 may be something else, a socket even
        raise StreamError("standard output is closed")
    return sys.stdout.fileno()


async def _writable(descriptor: int) -> None:
    """Wait until there is room to write, or nobody who reads."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(descriptor, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(descriptor)


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, or the end."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # a regular file, which epoll does not take: it can always be read
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
