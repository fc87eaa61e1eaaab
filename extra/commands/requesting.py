"""`extra request`: one request to an application, answered without a server.

The application is started, asked, and stopped. What goes on, such as an event source, is printed as it comes,
until the time is over or Ctrl-C ends it.
"""

import asyncio
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from extra.commands.loading import Loaded, LoadError, find, host
from extra.commands.options import OptionError
from extra.errors import ExtraError
from extra.http import (
    Request,
    Response,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocketResponse,
    problem_response,
)

__all__ = ["request"]

TARGET_SAFE: Final = "%/!$&'()*+,;=:@-._~?[]"


def request(
    target: str,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    body: str = "",
    include: bool = False,
    timeout: float = 30.0,
    factory: bool = False,
    app_dir: str = "",
) -> int:
    """Print the answer of the application that `target` names, and return the exit status.

    It is 0 when the status of the answer is below 400, and 1 when it is not, when there is no such
    application, it does not start, or `timeout` seconds have not been enough.

    Raises:
        OptionError: an option has a value that is not allowed.
    """
    asked = request_of(method, path, headers, body_of(body))
    try:
        loaded = host(find(target, factory=factory, directory=app_dir))
    except LoadError as error:
        sys.stderr.write(f"extra: {error}\n")
        return 1
    try:
        return asyncio.run(ask(loaded, asked, sys.stdout.buffer, include=include, timeout_s=timeout))
    except TimeoutError:
        sys.stderr.write(f"extra: not answered to its end within {timeout:g} s (--timeout)\n")
    except RuntimeError as error:
        sys.stderr.write(f"extra: {error}\n")
    except KeyboardInterrupt:
        pass
    return 1


def request_of(method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> Request:
    """Return the request that a server would make of it. What is not ASCII in `path` is percent-encoded."""
    if not method.isalpha():
        raise OptionError("method", f"{method!r} is no method")
    if not path.startswith("/"):
        raise OptionError("path", f"{path!r} does not begin with a slash")
    fields = {"host": "localhost"}
    if body:
        fields["content-length"] = str(len(body))
    for name, value in headers:
        if not value.isprintable():
            raise OptionError("header", f"{name!r} has a value that is no text of one line")
        fields[name.lower()] = value
    return Request(
        method.upper(),
        quote(path, safe=TARGET_SAFE).encode(),
        [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in fields.items()
        ],
        client="127.0.0.1:0",
        body=body,
    )


def body_of(text: str) -> bytes:
    """Return the body that the option says: the text, a file, or standard input."""
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise OptionError("body", f"{text[1:]!r} cannot be read: {error.strerror}") from None


async def ask(loaded: Loaded, asked: Request, output: BinaryIO, *, include: bool, timeout_s: float) -> int:
    """Ask within the life of the application. Raises TimeoutError, and what starting it raises."""
    async with asyncio.timeout(timeout_s), loaded.life:
        try:
            response = await loaded.handler(asked)
        except ExtraError as error:
            response = problem_response(error)
        if include:
            output.write(head_of(response))
        if asked.method != "HEAD":
            await print_body(response, output)
        loaded.drain()
    return 0 if response.status < HTTPStatus.BAD_REQUEST else 1


def head_of(response: Response) -> bytes:
    """Return status and header fields as text."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"{response.status} {phrase}".rstrip()]
    if response.content_type is not None:
        lines.append(f"Content-Type: {response.content_type}")
    lines += [f"{name}: {value}" for name, value in response.headers]
    if isinstance(response.body, bytes) and not isinstance(response, StreamingResponse | WebSocketResponse):
        lines.append(f"Content-Length: {len(response.body)}")
    return "".join([f"{line}\n" for line in [*lines, ""]]).encode()


async def print_body(response: Response, output: BinaryIO) -> None:
    """Write the body as it comes."""
    if isinstance(response, WebSocketResponse):
        response.taker.closed(1006, "")
        return
    if isinstance(response, StreamingResponse):
        stream = PrintedStream(response.taker, output)
        response.taker.opened(stream)
        try:
            await stream.ended.wait()
        finally:
            stream.close()
    elif isinstance(response.body, bytes):
        output.write(response.body)
        if output.isatty() and response.body and not response.body.endswith(b"\n"):
            output.write(b"\n")  # so that the prompt has a line of its own
    else:
        async for part in response.body:
            output.write(part)
            output.flush()
    output.flush()


class PrintedStream(Stream):
    """A stream whose client is a file."""

    def __init__(self, taker: StreamTaker, output: BinaryIO) -> None:
        self.writable = True
        self.ended = asyncio.Event()
        self._taker = taker
        self._output = output

    def write(self, data: bytes) -> None:
        self._output.write(data)
        self._output.flush()

    def write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._taker.closed()

    def abort(self) -> None:
        self.close()
