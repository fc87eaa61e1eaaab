"""Forms as they arrive: cut anywhere, bounded, and broken."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from extra.errors import ExtraError, LimitExceeded
from extra.http import BadRequest, Form, FormLimits, Request, UnsupportedMediaType
from extra.http.forms import Upload, read_form

MULTIPART = "multipart/form-data; boundary=xyz"

BODY = (
    b'--xyz\r\nContent-Disposition: form-data; name="title"\r\n\r\nHello \xc3\xa9\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="doc"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nline 1\r\n--xy not yet\r\n"
    b'--xyz\r\nContent-Disposition: form-data; name="title"\r\n\r\n\r\n'
    b"--xyz--\r\n"
)


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, content_type: str = MULTIPART, size: int = 7, **limits: int) -> Form:
    return await read_form(content_type, cut(body, size), FormLimits(**limits))


@pytest.mark.parametrize("size", [1, 2, 3, 16, 1000])
async def test_multipart_form_is_the_same_however_it_is_cut(size: int) -> None:
    """RFC 7578."""
    form = await read(BODY, size=size)
    assert form.fields == [("title", "Hello é"), ("title", "")]
    assert (form.value("title"), form.values("title"), form.value("x")) == ("Hello é", ["Hello é", ""], None)
    upload = form.file("doc")
    assert upload is not None
    assert (upload.filename, upload.content_type, upload.size) == ("a.txt", "text/plain", 20)
    assert await upload.read(6) == b"line 1"
    assert await upload.read() == b"\r\n--xy not yet"
    assert await upload.read() == b""
    assert form.file("title") is None
    form.close()
    form.close()


@pytest.mark.parametrize("memory", [1, 100_000_000])
async def test_file_may_be_on_disk(memory: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
        + content
        + b"\r\n--xyz--\r\n"
    )
    form = await read(body, size=10_000, memory_limit_bytes=memory)
    upload = form.file("a")
    assert upload is not None
    assert await upload.read(3) == content[:3]
    await upload.save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == content
    assert await upload.read(1) == content[3:4]
    form.close()


async def test_urlencoded_form() -> None:
    form = await read(b"a=1&b=x+y%C3%A9&a=&c", "application/x-www-form-urlencoded; charset=utf-8")
    assert form.fields == [("a", "1"), ("b", "x yé"), ("a", ""), ("c", "")]


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"", "application/json", UnsupportedMediaType),
        (b"", "", UnsupportedMediaType),
        (b"a=%ff", "application/x-www-form-urlencoded", BadRequest),
        (b"a=\xff", "application/x-www-form-urlencoded", BadRequest),
        (BODY, "multipart/form-data", BadRequest),
        (BODY, "multipart/form-data; boundary=" + "x" * 5000, BadRequest),
        (BODY[:-10], MULTIPART, BadRequest),
        (b"", MULTIPART, BadRequest),
        (b"rubbish", MULTIPART, BadRequest),
        (BODY.replace(b"form-data", b"attachment"), MULTIPART, BadRequest),
        (BODY.replace(b'name="doc"', b"x=y"), MULTIPART, BadRequest),
        (BODY.replace(b"\xc3", b"\xff"), MULTIPART, BadRequest),
        (b"--xyz\r\n" + b"X: y\r\n" * 1000 + b"\r\n", MULTIPART, BadRequest),
        (b"--xyz\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", MULTIPART, BadRequest),
    ],
)
async def test_what_is_no_form_is_refused(body: bytes, content_type: str, kind: type[ExtraError]) -> None:
    with pytest.raises(kind):
        await read(body, content_type)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"fields_limit": 1}, "fields_limit=1"),
        ({"files_limit": 0}, "files_limit=0"),
        ({"field_limit_bytes": 3}, "field_limit_bytes=3"),
        ({"file_limit_bytes": 5}, "file_limit_bytes=5"),
        ({"total_limit_bytes": 100}, "total_limit_bytes=100"),
        ({"memory_limit_bytes": 1}, "memory_limit_bytes=1"),
    ],
)
async def test_everything_is_bounded_by_name(limits: dict[str, int], name: str) -> None:
    with pytest.raises(LimitExceeded, match=name):
        await read(BODY, MULTIPART, 7, **limits)


@pytest.mark.parametrize("limits", [{"fields_limit": 1}, {"field_limit_bytes": 3}])
async def test_urlencoded_forms_are_bounded_too(limits: dict[str, int]) -> None:
    with pytest.raises(LimitExceeded):
        await read(b"a=1&b=2", "application/x-www-form-urlencoded", 7, **limits)


async def test_broken_form_leaves_no_file_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = Upload.close

    def note(upload: Upload) -> None:
        closed.append(upload.filename)
        close(upload)

    monkeypatch.setattr(Upload, "close", note)
    with pytest.raises(BadRequest):
        await read(BODY[:-10])
    assert closed == ["a.txt"]


@pytest.mark.parametrize(
    ("filename", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.txt", "a.txt"),
        ("..", "file"),
        ("", "file"),
        ("a\r\nb\0c", "abc"),
        ("/", "file"),
        ("x" * 500, "x" * 200),
    ],
)
def test_safe_name_leads_nowhere(filename: str, safe: str) -> None:
    upload = Upload(filename, "text/plain")
    assert upload.safe_name == safe
    upload.close()


async def test_request_reads_its_form_once_and_closes_it() -> None:
    request = Request("POST", b"/", [(b"content-type", MULTIPART.encode())], body=BODY)
    form = await request.form()
    assert await request.form() is form
    upload = form.file("doc")
    assert upload is not None
    assert request.unfinished
    assert list(request.finish()) == []
    with pytest.raises(ValueError, match="closed"):
        await upload.read()
