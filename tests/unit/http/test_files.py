"""Files as responses."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from extra.http import NotFound, Request, Response, ResponseCut, file_response
from extra.http.files import PART_BYTES, WHOLE_BYTES, FileParts, _read_whole, disposition

CHANGED = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    os.utime(path, (CHANGED, CHANGED))
    return path


async def get(path: Path, method: str = "GET", compressed: bool = False, **headers: str) -> Response:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await file_response(Request(method, b"/", fields), path, compressed=compressed)


async def body_of(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([part async for part in response.body])


async def test_file_is_a_response_with_what_is_known_of_it(path: Path) -> None:
    response = await get(path)
    assert (response.status, response.body) == (200, b"0123456789")
    assert response.content_type == "text/plain; charset=utf-8"
    tag = response.header("etag")
    assert tag is not None
    assert tag.startswith('"')
    assert response.header("last-modified") == DATE
    assert response.header("accept-ranges") == "bytes"
    again = await get(path, if_none_match=tag)
    assert (again.status, again.body, again.header("etag")) == (304, b"", tag)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": 'W/"other", W/{tag}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_modified_since": DATE}, 304),
        ({"if_modified_since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 200),
        ({"if_modified_since": "nonsense"}, 200),
        ({"if_modified_since": DATE, "if_none_match": '"other"'}, 200),
        ({"if_match": '"other"'}, 412),
        ({"if_match": '"other", {tag}'}, 200),
        ({"if_match": "W/{tag}"}, 412),
        ({"if_match": "*"}, 200),
    ],
)
async def test_conditions_are_looked_at(path: Path, headers: dict[str, str], status: int) -> None:
    """RFC 9110 13."""
    tag = (await get(path)).header("etag") or ""
    fields = {name: value.replace("{tag}", tag) for name, value in headers.items()}
    assert (await get(path, "GET", False, **fields)).status == status


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-999", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    path: Path, asked: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    """RFC 9110 14."""
    response = await get(path, range=asked)
    assert (response.status, response.header("content-range")) == (status, content_range)
    if body is not None:
        assert response.body == body


async def test_range_counts_while_the_file_is_the_same(path: Path) -> None:
    """RFC 9110 13.1.5: an entity tag that is weak, or another date, is not the same."""
    tag = (await get(path)).header("etag") or ""
    for condition, status in (
        (tag, 206),
        (DATE, 206),
        ('"other"', 200),
        (f"W/{tag}", 200),
        ("nonsense", 200),
    ):
        assert (await get(path, range="bytes=0-3", if_range=condition)).status == status
    assert (await get(path, "HEAD", range="bytes=0-3")).status == 200


@pytest.mark.parametrize("size", [WHOLE_BYTES, WHOLE_BYTES + 1, PART_BYTES * 2 + 7])
async def test_large_file_comes_in_parts_of_a_length_that_is_known(tmp_path: Path, size: int) -> None:
    path = tmp_path / "big"
    content = os.urandom(size)
    path.write_bytes(content)
    response = await get(path)
    assert response.length == (size if size > WHOLE_BYTES else None)
    assert await body_of(response) == content
    response = await get(path, range="bytes=3-")
    assert await body_of(response) == content[3:]


async def test_parts_may_be_left(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (PART_BYTES * 3))
    response = await get(path)
    body = response.body
    assert isinstance(body, AsyncGenerator)
    await anext(body)
    await body.aclose()
    await body.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(body)


async def test_file_that_shrinks_cuts_the_response(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (PART_BYTES * 2))
    response = await get(path)
    assert isinstance(response.body, FileParts)
    await anext(response.body)
    path.write_bytes(b"")
    with pytest.raises(ResponseCut, match="shorter"):
        await body_of(response)
    assert await body_of(response) == b"", "it is closed"


def test_small_file_that_shrinks_is_not_answered_in_part(path: Path) -> None:
    with path.open("rb") as file:
        path.write_bytes(b"0123")
        with pytest.raises(ResponseCut, match="shorter"):
            _read_whole(file, 2, 8)
    assert file.closed


async def test_compressed_file_beside_goes_to_who_takes_it(path: Path) -> None:
    path.with_name("a.txt.gz").write_bytes(b"gzipped")
    path.with_name("a.txt.br").write_bytes(b"brotli")
    for accepted, encoding, body in (
        ("gzip, br", "br", b"brotli"),
        ("gzip;q=1.0, br;q=0", "gzip", b"gzipped"),
        ("*", "br", b"brotli"),
        ("identity", None, b"0123456789"),
        ("gzip;q=nonsense", None, b"0123456789"),
        ("", None, b"0123456789"),
    ):
        response = await get(path, compressed=True, accept_encoding=accepted)
        assert (response.header("content-encoding"), response.body) == (encoding, body)
        assert response.content_type == "text/plain; charset=utf-8"
        assert response.header("vary") == "Accept-Encoding"
    assert (await get(path, accept_encoding="br")).body == b"0123456789"


@pytest.mark.parametrize("name", ["nothing", "folder", "a.txt/b", "\0", "x" * 5000])
async def test_what_is_no_file_is_not_found(path: Path, name: str) -> None:
    (path.parent / "folder").mkdir()
    with pytest.raises(NotFound):
        await get(path.parent / name)


async def test_pipe_does_not_hold_up_anybody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFound):
        await get(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.png", "image/png"),
        ("a.unknown", "application/octet-stream"),
        ("a.tar.gz", "application/octet-stream"),
    ],
)
async def test_content_type_is_guessed(tmp_path: Path, name: str, content_type: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert (await get(tmp_path / name)).content_type == content_type


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.txt", 'attachment; filename="a.txt"'),
        ("ä b.txt", "attachment; filename=\"_ b.txt\"; filename*=UTF-8''%C3%A4%20b.txt"),
        ('a"\r\nX: y', "attachment; filename=\"a___X: y\"; filename*=UTF-8''a%22%0D%0AX%3A%20y"),
    ],
)
def test_names_to_save_under_are_written_safely(name: str, value: str) -> None:
    """RFC 6266 4."""
    assert disposition(name) == value


async def test_request_answers_with_a_file(path: Path) -> None:
    response = await Request("GET", b"/").file(path, download_name="b.txt", cache_control="no-store")
    assert response.header("content-disposition") == 'attachment; filename="b.txt"'
    assert response.header("cache-control") == "no-store"
