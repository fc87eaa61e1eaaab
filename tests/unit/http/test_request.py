"""Requests as handlers see them."""

import pytest

from extra.errors import LocalProtocolError, RemoteProtocolError
from extra.http import Body, BodySource, BodyTooLarge, Request, decode_percent


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
