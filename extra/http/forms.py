"""Forms: urlencoded, and multipart with files (RFC 7578), as they arrive.

python-multipart does the parsing. Everything is bounded by `FormLimits`; a file that is larger than
`memory_limit_bytes` goes to disk, where it has no name and is gone when it is closed.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Final
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from extra.errors import LimitExceeded
from extra.http.errors import BadRequest, BodyTooLarge, UnsupportedMediaType

__all__ = ["Form", "FormLimits", "Upload", "read_form"]

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"

WRITTEN_AT_ONCE_BYTES: Final = 64 * 1024
"""Of a file on disk so much is collected before it is written, in a thread."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What a form may cost, in counts and bytes."""

    fields_limit: int = 1000
    field_limit_bytes: int = 1024 * 1024
    files_limit: int = 100
    file_limit_bytes: int = 64 * 1024 * 1024
    total_limit_bytes: int = 128 * 1024 * 1024
    memory_limit_bytes: int = 1024 * 1024
    """What of one file is kept in memory. Fields always are: all together at most four times this."""


class Upload:
    """A file of a form. `filename` is what the client calls it, and may be anything: see `safe_name`."""

    __slots__ = ("_file", "_waiting", "content_type", "filename", "size")

    def __init__(self, filename: str, content_type: str, memory_limit_bytes: int = 1024 * 1024) -> None:
        self.filename = filename
        self.content_type = content_type
        self.size = 0
        self._file = SpooledTemporaryFile(max_size=memory_limit_bytes)  # noqa: SIM115  # lives as long as this
        self._waiting = bytearray()

    @property
    def safe_name(self) -> str:
        """The last part of `filename`, without what leads elsewhere; `file` when nothing is left of it."""
        name = self.filename.replace("\\", "/").rpartition("/")[2]
        name = "".join(character for character in name if character.isprintable()).strip(". ")
        return name[:200] or "file"

    async def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, all that is left by default; empty at the end."""
        if self.size and self._is_on_disk():
            return await asyncio.to_thread(self._file.read, size)
        return self._file.read(size)

    async def seek(self, position: int) -> None:
        """Read from `position` on, next."""
        await asyncio.to_thread(self._file.seek, position)

    async def save(self, path: str | Path) -> None:
        """Write all of it to a file. What is there already is replaced."""
        await asyncio.to_thread(self._save, Path(path))

    def close(self) -> None:
        """Let go of it. Idempotent."""
        self._file.close()

    async def write(self, *, last: bool) -> None:
        """Put down what `collect` has taken."""
        waiting = self._waiting
        if not waiting or (len(waiting) < WRITTEN_AT_ONCE_BYTES and not last):
            return
        self._waiting = bytearray()
        if self._is_on_disk():
            await asyncio.to_thread(self._file.write, waiting)
        else:
            self._file.write(waiting)

    def collect(self, data: bytes) -> None:
        """Take some of its content, for the next `write`."""
        self._waiting += data
        self.size += len(data)

    def _is_on_disk(self) -> bool:
        return bool(self._file._rolled)  # type: ignore[attr-defined]  # what fileno() would bring about

    def _save(self, path: Path) -> None:
        position = self._file.tell()
        self._file.seek(0)
        with path.open("wb") as target:
            while part := self._file.read(WRITTEN_AT_ONCE_BYTES):
                target.write(part)
        self._file.seek(position)


class Form:
    """The fields and the files of a form, in their order."""

    __slots__ = ("fields", "files")

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, Upload]] = []

    def value(self, name: str) -> str | None:
        """Return the first value of the field `name`, None when there is none."""
        return next((value for key, value in self.fields if key == name), None)

    def values(self, name: str) -> list[str]:
        """Return every value of the field `name`."""
        return [value for key, value in self.fields if key == name]

    def file(self, name: str) -> Upload | None:
        """Return the first file of the field `name`, None when there is none."""
        return next((upload for key, upload in self.files if key == name), None)

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        for _, upload in self.files:
            upload.close()


async def read_form(content_type: str, body: AsyncIterator[bytes], limits: FormLimits) -> Form:
    """Read a form from `body`, as it arrives. Raises as `Request.form` does; then no file is left."""
    media_type, options = parse_options_header(content_type)
    if media_type == URLENCODED:
        return await _read_urlencoded(body, limits)
    if media_type != MULTIPART:
        raise UnsupportedMediaType(f"a form is {URLENCODED.decode()} or {MULTIPART.decode()}")
    reader = _MultipartReader(options.get(b"boundary", b""), limits)
    try:
        async for part in body:
            reader.receive(part)
            await reader.write()
        reader.end()
        await reader.write()
    except BaseException:
        reader.form.close()
        raise
    return reader.form


async def _read_urlencoded(body: AsyncIterator[bytes], limits: FormLimits) -> Form:
    whole = bytearray()
    async for part in body:
        whole += part
        if len(whole) > limits.field_limit_bytes:
            raise BodyTooLarge(limits.field_limit_bytes, "field_limit_bytes")
    form = Form()
    try:
        form.fields = parse_qsl(whole.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("form is not urlencoded UTF-8") from None
    if len(form.fields) > limits.fields_limit:
        raise LimitExceeded(f"more fields in a form than fields_limit={limits.fields_limit}")
    return form


class _MultipartReader:
    """Takes a multipart body, and puts what it says into `form`. The parser calls it back."""

    def __init__(self, boundary: bytes, limits: FormLimits) -> None:
        self.form = Form()
        self.limits = limits
        self.received = 0
        self.field_bytes = 0
        self.header_name = b""
        self.header_value = b""
        self.headers: dict[bytes, bytes] = {}
        self.name = ""
        self.value: bytearray | None = None
        self.upload: Upload | None = None
        self.unwritten: list[Upload] = []
        self.ended = False
        if not boundary:
            raise BadRequest("multipart form without a boundary")
        try:
            self.parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self.part_begins,
                    "on_header_field": self.takes_header_name,
                    "on_header_value": self.takes_header_value,
                    "on_header_end": self.header_ends,
                    "on_headers_finished": self.part_has_headers,
                    "on_part_data": self.takes_data,
                    "on_part_end": self.part_ends,
                    "on_end": self.form_ends,
                },
            )
        except FormParserError:
            raise BadRequest("multipart form with a boundary that is too long") from None

    def receive(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > self.limits.total_limit_bytes:
            raise BodyTooLarge(self.limits.total_limit_bytes, "total_limit_bytes")
        try:
            self.parser.write(data)
        except FormParserError:
            raise BadRequest("malformed multipart form") from None

    def end(self) -> None:
        try:
            self.parser.finalize()
        except FormParserError:
            raise BadRequest("malformed multipart form") from None
        if not self.ended:
            raise BadRequest("multipart form without an end")

    async def write(self) -> None:
        unwritten, self.unwritten = self.unwritten, []
        for upload in unwritten:
            await upload.write(last=True)
            await upload.seek(0)
        if self.upload is not None:
            await self.upload.write(last=False)

    # The parser calls these.

    def part_begins(self) -> None:
        self.headers = {}
        self.header_name = b""
        self.header_value = b""

    def takes_header_name(self, data: bytes, start: int, end: int) -> None:
        self.header_name += data[start:end]

    def takes_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header_value += data[start:end]

    def header_ends(self) -> None:
        self.headers[self.header_name.lower()] = self.header_value
        self.header_name = b""
        self.header_value = b""

    def part_has_headers(self) -> None:
        limits = self.limits
        disposition, options = parse_options_header(self.headers.get(b"content-disposition"))
        name = options.get(b"name")
        if disposition != b"form-data" or name is None:
            raise BadRequest("part of a multipart form without a name")
        self.name = _decoded(name)
        filename = options.get(b"filename")
        if filename is None:
            if len(self.form.fields) >= limits.fields_limit:
                raise LimitExceeded(f"more fields in a form than fields_limit={limits.fields_limit}")
            self.value = bytearray()
            return
        if len(self.form.files) >= limits.files_limit:
            raise LimitExceeded(f"more files in a form than files_limit={limits.files_limit}")
        content_type = self.headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        self.upload = Upload(_decoded(filename), content_type, limits.memory_limit_bytes)
        self.form.files.append((self.name, self.upload))

    def takes_data(self, data: bytes, start: int, end: int) -> None:
        limits = self.limits
        if self.value is not None:
            self.value += data[start:end]
            self.field_bytes += end - start
            if len(self.value) > limits.field_limit_bytes:
                raise LimitExceeded(
                    f"field of a form larger than field_limit_bytes={limits.field_limit_bytes}"
                )
            if self.field_bytes > limits.memory_limit_bytes * 4:
                raise LimitExceeded(
                    f"fields of a form larger than 4 x memory_limit_bytes={limits.memory_limit_bytes}"
                )
        elif self.upload is not None:
            if self.upload.size + end - start > limits.file_limit_bytes:
                raise LimitExceeded(f"file of a form larger than file_limit_bytes={limits.file_limit_bytes}")
            self.upload.collect(data[start:end])

    def part_ends(self) -> None:
        if self.value is not None:
            self.form.fields.append((self.name, _decoded(bytes(self.value))))
            self.value = None
        elif self.upload is not None:
            self.unwritten.append(self.upload)
            self.upload = None

    def form_ends(self) -> None:
        self.ended = True


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadRequest("form is not UTF-8") from None
