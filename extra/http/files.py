"""Files as responses: conditional (RFC 9110 13), in ranges (RFC 9110 14), and compressed beforehand.

A small file is read at once. A large one is read part by part, as the client takes it, in threads: reading
can block, on a disk as well as over a network.
"""

import asyncio
import mimetypes
import os
import re
from collections.abc import AsyncGenerator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote

from extra.http.encodings import encodings_taken
from extra.http.errors import NotFound, ResponseCut
from extra.http.response import Response, problem

if TYPE_CHECKING:
    from extra.http.request import Request

__all__ = ["file_response"]

WHOLE_BYTES: Final = 64 * 1024
"""A file up to this size is read at once."""

PART_BYTES: Final = 256 * 1024

OUTSIDE: Final = (0, 0)

SHORTER: Final = "the file has become shorter while it was being sent"

RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)
TAG: Final = re.compile(r'(?:W/)?("[^"]*")')

COMPRESSED: Final = (("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz"))
"""Encodings, by preference, and what the names of files in them end with."""


async def file_response(
    request: "Request",
    path: str | Path,
    *,
    content_type: str | None = None,
    download_name: str | None = None,
    cache_control: str | None = None,
    compressed: bool = False,
) -> Response:
    """Return a response with a file, or 206, 304, 412 or 416, as the request asks for.

    `content_type` is guessed by the name unless given. `download_name` has a browser save it under that name.
    With `compressed`, a file beside it whose name ends in `.br`, `.zst` or `.gz` goes to clients that take
    that. The path is taken as it is: what comes from a client has to be checked before.

    Raises:
        NotFound: there is no such file, or it cannot be read.
        ResponseCut: it has become shorter meanwhile. The parts of a large one raise it, too.
    """
    opened, encoding = await asyncio.to_thread(_open, Path(path), _encodings(request) if compressed else ())
    file, size, changed_ns = opened
    tag = f'"{changed_ns:x}-{size:x}"'
    headers = [("ETag", tag), ("Last-Modified", formatdate(changed_ns // 10**9, usegmt=True))]
    if cache_control is not None:
        headers.append(("Cache-Control", cache_control))
    if compressed:
        headers.append(("Vary", "Accept-Encoding"))
    status = _precondition(request, tag, changed_ns // 10**9)
    if status:
        file.close()
        return Response(status, headers=headers)
    headers.append(("Accept-Ranges", "bytes"))
    if encoding:
        headers.append(("Content-Encoding", encoding))
    if download_name is not None:
        headers.append(("Content-Disposition", disposition(download_name)))
    start, end = 0, size
    asked = request.header("range") if request.method == "GET" else None
    found = None
    if asked is not None and _range_counts(request, tag, changed_ns // 10**9):
        found = _range(asked, size)
    if found == OUTSIDE:
        file.close()
        unsatisfied = [("Content-Range", f"bytes */{size}")]
        return problem(416, "range_not_satisfiable", f"the file has {size} bytes", headers=unsatisfied)
    if found is not None:
        start, end = found
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
    response = Response(
        206 if found is not None else 200,
        content_type=content_type or _guess(Path(path)),
        headers=headers,
    )
    if end - start <= WHOLE_BYTES:
        response.body = await asyncio.to_thread(_read_whole, file, start, end - start)
    else:
        response.body = FileParts(file, start, end)
        response.length = end - start
    return response


class FileParts(AsyncGenerator[bytes, None]):
    """A part of a file, from `start` to `end`; closing it closes the file."""

    __slots__ = ("_end", "_file", "_position")

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file = file
        self._position = start
        self._end = end

    async def __anext__(self) -> bytes:
        size = min(PART_BYTES, self._end - self._position)
        if not size:
            self._file.close()
            raise StopAsyncIteration
        try:
            data = await asyncio.to_thread(self._read, size)
        except BaseException:
            await self.aclose()
            raise
        self._position += len(data)
        return data

    async def asend(self, value: None) -> bytes:
        return await self.__anext__()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> bytes:
        await self.aclose()
        raise kind

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        self._position = self._end
        self._file.close()

    def _read(self, size: int) -> bytes:
        self._file.seek(self._position)
        data = self._file.read(size)
        if not data:  # and what the head has promised cannot be kept
            raise ResponseCut(SHORTER)
        return data


def disposition(name: str) -> str:
    """Return the value of `Content-Disposition` that has a file saved as `name` (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\/]', "_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _open(path: Path, encodings: tuple[tuple[str, str], ...]) -> tuple[tuple[BinaryIO, int, int], str]:
    """Open the file, or one beside it in one of the encodings; return that, too. Raises NotFound."""
    for encoding, ending in encodings:
        opened = _open_one(path.with_name(path.name + ending))
        if opened is not None:
            return opened, encoding
    opened = _open_one(path)
    if opened is None:
        raise NotFound("no such file")
    return opened, ""


def _open_one(path: Path) -> tuple[BinaryIO, int, int] | None:
    """Open a file, and return its size and when it was changed, in nanoseconds; None if it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block
    except (OSError, ValueError):
        return None
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb"), found.st_size, found.st_mtime_ns


def _read_whole(file: BinaryIO, start: int, size: int) -> bytes:
    with file:
        file.seek(start)
        data = file.read(size)
    if len(data) < size:
        raise ResponseCut(SHORTER)
    return data


def _precondition(request: "Request", tag: str, changed: int) -> int:
    """Return 304 or 412 when a condition of the request does not hold, else 0 (RFC 9110 13.2.2)."""
    must_match = request.header("if-match")
    if must_match is not None and must_match.strip() != "*" and tag not in _strong_tags(must_match):
        return 412
    none_match = request.header("if-none-match")
    if none_match is not None:
        is_known = none_match.strip() == "*" or tag in TAG.findall(none_match)
        return (304 if request.method in ("GET", "HEAD") else 412) if is_known else 0
    since = _date(request.header("if-modified-since"))
    return 304 if since is not None and changed <= since else 0


def _range_counts(request: "Request", tag: str, changed: int) -> bool:
    """Say whether the range is of the file as it is now (RFC 9110 13.1.5)."""
    condition = request.header("if-range")
    if condition is None:
        return True
    return condition.strip() == tag or _date(condition) == changed


def _range(field: str, size: int) -> tuple[int, int] | None:
    """Return start and end of the range asked for, `OUTSIDE` of the file, None for what is not one range."""
    found = RANGE.fullmatch(field)
    if found is None or found.groups() == ("", ""):
        return None  # RFC 9110 14.2: what is not understood is ignored; so are several ranges
    first, last = found.groups()
    if not first:
        count = int(last)
        return (max(0, size - count), size) if count and size else OUTSIDE
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return (start, end) if start < size else OUTSIDE


def _encodings(request: "Request") -> tuple[tuple[str, str], ...]:
    """Return the encodings that the client takes, and what the names of files in them end with."""
    taken = encodings_taken(request.header("accept-encoding"), [name for name, _ in COMPRESSED])
    endings = dict(COMPRESSED)
    return tuple((name, endings[name]) for name in taken)


def _strong_tags(field: str) -> list[str]:
    return [item.strip() for item in field.split(",")]


def _date(field: str | None) -> int | None:
    if field is None:
        return None
    try:
        return int(parsedate_to_datetime(field).timestamp())
    except (ValueError, OverflowError):
        return None


def _guess(path: Path) -> str:
    kind, encoding = mimetypes.guess_type(path.name)
    if encoding is not None:  # a file that is compressed is what it is, and not what is in it
        return "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    text = kind.startswith("text/") or kind in ("application/javascript", "application/json")
    return f"{kind}; charset=utf-8" if text and kind != "application/json" else kind
