"""Requests as handlers see them."""

from collections.abc import AsyncIterator
from datetime import date

import pytest

from extra.errors import InvalidPayload, LocalProtocolError, RemoteProtocolError
from extra.http import Body, BodySource, BodyTooLarge, Request, UnsupportedMediaType, decode_percent


class Source(BodySource):
    """Has nothing to give."""

    def body_wanted(self) -> None: ...


def asking(target: bytes, *headers: tuple[bytes, bytes]) -> Request:
    return Request("GET", target, list(headers))


@pytest.mark.parametrize(
    ("target", "raw_path", "path"),
    [
        (b"/", "/", "/"),
        (b"/t/a%2Fb/%C3%A9+c?d=e", "/t/a%2Fb/%C3%A9+c", "/t/a/b/é+c"),
        (b"//a//b", "//a//b", "//a//b"),
        (b"/?", "/", "/"),
        (b"/a?b?c", "/a", "/a"),
        (b"http://example.org/a/b?c", "/a/b", "/a/b"),
        (b"http://example.org", "/", "/"),
        (b"http://example.org?c", "/", "/"),
        (b"/a://b/c", "/a://b/c", "/a://b/c"),
        (b"*", "*", "*"),
    ],
)
def test_path_is_taken_from_every_form_of_target(target: bytes, raw_path: str, path: str) -> None:
    """RFC 9112 3.2."""
    request = asking(target)
    assert (request.raw_path, request.path) == (raw_path, path)


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "a%2", "%ff", "%c3", "%ed%a0%80"])
def test_bad_escapes_are_a_malformed_request(text: str) -> None:
    """RFC 3986 2.1; UTF-8 has no surrogates."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode_percent(text)
    assert getattr(caught.value, "status", None) == 400
    for target in (f"/{text}", f"/?{text}", f"/?a={text}"):
        with pytest.raises(RemoteProtocolError):
            _ = (asking(target.encode()).path, asking(target.encode()).query)


def test_query_keeps_order_repetition_and_plus() -> None:
    request = asking(b"/poll?topic=a%2F%2B&topic=b+c&since=&flag&&=x&%C3%A9=1")
    assert request.query == [
        ("topic", "a/+"),
        ("topic", "b+c"),
        ("since", ""),
        ("flag", ""),
        ("", "x"),
        ("é", "1"),
    ]
    assert request.query_values("topic") == ["a/+", "b+c"]
    assert request.query_value("topic") == "a/+"
    assert request.query_value("flag") == ""
    assert request.query_value("none") is None
    assert request.query_values("none") == []


def test_fields_of_one_name_are_one_list() -> None:
    """RFC 9110 5.3."""
    request = asking(b"/", (b"accept", b"text/html"), (b"host", b"x"), (b"accept", b"*/*;q=0.1"))
    assert request.header("Accept") == "text/html, */*;q=0.1"
    assert request.header("host") == "x"
    assert request.header("Origin") is None
    assert asking(b"/", (b"x", b"\xe9")).header("X") == "é"


def test_host_is_that_of_the_target_if_it_has_one() -> None:
    """RFC 9112 3.2.2."""
    host = (b"host", b"example.org:8080")
    assert asking(b"/", host).host == "example.org:8080"
    assert asking(b"http://other.example:1/a", host).host == "other.example:1"
    assert asking(b"http://other.example?a", host).host == "other.example"
    assert asking(b"/").host == ""


async def test_body_may_be_there_from_the_start() -> None:
    request = Request("POST", b"/", body=b"abc")
    assert await request.body() == b"abc"
    assert await request.body() == b"abc"
    assert [part async for part in Request("POST", b"/", body=b"abc").stream()] == [b"abc"]
    assert [part async for part in Request("POST", b"/").stream()] == []


async def test_body_that_arrives_is_kept_for_whoever_asks_again() -> None:
    body = Body(Source())
    body.feed(b"ab")
    body.feed(b"c")
    body.end()
    request = Request("POST", b"/", body=body)
    assert await request.body() == b"abc"
    assert await request.body() == b"abc"


async def test_body_is_streamed_once() -> None:
    body = Body(Source())
    body.feed(b"ab")
    body.feed(b"c")
    body.end()
    request = Request("POST", b"/", body=body)
    assert [part async for part in request.stream()] == [b"ab", b"c"]
    with pytest.raises(LocalProtocolError, match="the body has been taken"):
        await anext(request.stream())
    with pytest.raises(LocalProtocolError, match="the body has been taken"):
        await request.body()


async def test_limit_of_the_caller_is_named() -> None:
    body = Body(Source(), limit_bytes=10)
    body.feed(b"abcd")
    body.end()
    for request in (Request("POST", b"/", body=body), Request("POST", b"/", body=b"abcd")):
        with pytest.raises(BodyTooLarge, match=r"^body larger than broker.max_payload_bytes=3$"):
            await request.body(3, "broker.max_payload_bytes")


def typed(content_type: str, body: bytes) -> Request:
    return Request("POST", b"/", [(b"content-type", content_type.encode())], body=body)


async def test_body_as_text_is_of_its_charset() -> None:
    assert await typed("text/plain", "é".encode()).text() == "é"
    assert await typed('text/plain; charset="latin-1"', b"\xe9").text() == "é"
    with pytest.raises(InvalidPayload, match="body is not utf-8"):
        await typed("text/plain", b"\xff").text()
    with pytest.raises(UnsupportedMediaType, match="unknown charset"):
        await typed("text/plain; charset=klingon", b"x").text()


async def test_json_is_read_without_a_value_and_answered_with_one() -> None:
    assert await typed("application/json", b'{"a": [1, null]}').json() == {"a": [1, None]}
    for broken in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidPayload, match="body is not JSON"):
            await typed("application/json", broken).json()
    response = asking(b"/").json({"at": date(2026, 1, 2)}, 201, headers=[("X", "y")])
    assert (response.status, response.body) == (201, b'{"at":"2026-01-02"}')
    assert (response.content_type, response.headers) == ("application/json", [("X", "y")])
    assert asking(b"/").json(None).body == b"null"


@pytest.mark.parametrize(
    ("body", "content", "content_type"),
    [
        (b"x", b"x", None),
        (bytearray(b"x"), b"x", "application/octet-stream"),
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a":1}', "application/json"),
        ([], b"[]", "application/json"),
        (None, b"null", "application/json"),
    ],
)
def test_answer_is_written_by_its_type(body: object, content: bytes, content_type: str | None) -> None:
    response = asking(b"/").respond(body)
    assert (response.body, response.content_type) == (content, content_type)
    assert asking(b"/").respond(body, b"text/x").content_type == "text/x"


def test_answer_that_cannot_be_written_is_a_bug() -> None:
    with pytest.raises(TypeError):
        asking(b"/").respond(object())


async def test_answer_may_come_in_parts() -> None:
    async def parts() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    body = asking(b"/").respond(parts(), "text/plain").body
    assert not isinstance(body, bytes)
    assert [part async for part in body] == [b"a", b"b"]


def test_pages_redirects_and_failures() -> None:
    request = asking(b"/")
    assert request.html("<p>é").content_type == "text/html; charset=utf-8"
    moved = request.redirect("/a b\r\nX: y", 303)
    assert (moved.status, moved.headers) == (303, (("Location", "/a%20b%0D%0AX:%20y"),))
    failed = request.fail(404, "no room")
    assert isinstance(failed.body, bytes)
    assert failed.status == 404
    assert b'"code":"not_found"' in failed.body
    assert b'"detail":"no room"' in failed.body


def test_what_few_requests_have_is_there_when_asked_for() -> None:
    request = asking(b"/")
    assert (request.scheme, request.root_path, request.unfinished) == ("http", "", False)
    assert list(request.finish()) == []
    request.scheme, request.root_path = "https", "/app"
    request.state["user"] = "ann"
    request.after(print, 1)
    assert (request.scheme, request.root_path) == ("https", "/app")
    assert request.state == {"user": "ann"}
    assert request.unfinished
    assert list(request.finish()) == [(print, (1,))]
    assert list(request.finish()) == []
    assert asking(b"/").media_type == ""
    assert typed("Text/HTML ; x=y", b"").media_type == "text/html"


def test_it_is_known_whether_the_body_has_arrived() -> None:
    body = Body(Source())
    request = Request("POST", b"/", body=body)
    assert not request.body_arrived
    body.end()
    assert request.body_arrived
    assert Request("POST", b"/", body=b"abc").body_arrived
