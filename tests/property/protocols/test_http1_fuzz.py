"""HTTP/1.1: any bytes in any cut, and requests that come out as they went in."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extra.http import Request, Response
from extra.protocols.http1 import (
    LAST_CHUNK,
    BodyPart,
    HTTP1Parser,
    MalformedRequest,
    RequestEnd,
    RequestHead,
    chunk,
)
from tests.property.protocols.cuts import cuts, pieces
from tests.unit.servers.serving import replies, serving, turns

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
FRAGMENTS = [
    b"GET ",
    b"POST ",
    b"/",
    b"/a%2Fb?c=d",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"Host: x\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"X: ",
    b"\r\n",
    b"\n",
    b"3\r\nabc\r\n",
    b"3;a=b\r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"abc",
    b"\0",
    b" ",
]

STATUSES = (400, 413, 414, 417, 431, 501, 505)

Summary = list[tuple[object, ...]]


def summary(received: list[bytes]) -> Summary:
    """Return what is parsed: bodies joined, and how it ends."""
    parser = HTTP1Parser(head_limit_bytes=500, headers_limit=10)
    found: Summary = []
    body = b""
    try:
        for piece in received:
            parser.receive_data(piece)
            while (event := parser.next_event()) is not None:
                if isinstance(event, RequestHead):
                    framing = (event.content_length, event.chunked, event.keep_alive, event.upgrade)
                    found.append((event.method, event.target, tuple(event.headers), framing))
                elif isinstance(event, BodyPart):
                    assert event.data
                    body += event.data
                else:
                    assert isinstance(event, RequestEnd)
                    found.append((body,))
                    body = b""
    except MalformedRequest as error:
        found.append((type(error), error.status, str(error)))
    else:
        found.append(("partial", body))
    return found


@given(st.binary(max_size=300), cuts())
def test_any_bytes_are_requests_or_a_protocol_error(data: bytes, places: list[int]) -> None:
    *_, end = summary(pieces(data, places))
    assert end[0] == "partial" or end[1] in STATUSES


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25), cuts())
@example([b"GET ", b"/", b" HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"] * 3, list(range(400)))
def test_what_is_parsed_does_not_depend_on_the_cut(fragments: list[bytes], places: list[int]) -> None:
    data = b"".join(fragments)
    assert summary(pieces(data, places)) == summary([data])


@settings(max_examples=60)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25), cuts(), st.booleans())
def test_connection_answers_whatever_comes_with_whole_responses(
    fragments: list[bytes], places: list[int], half_closes: bool
) -> None:
    async def echo(request: Request) -> Response:
        return Response(200, await request.body())

    async def main() -> None:
        async with serving(echo) as run:
            peer = run.connect()
            for piece in pieces(b"".join(fragments), places):
                peer.send(piece)
                await turns(1)
            if half_closes:
                peer.send_eof()
            await turns()
            assert {reply.status for reply in replies(peer.received)} <= {100, 200, *STATUSES}
            assert run.counters.handler_failures == 0

    asyncio.run(main())


names = st.binary(min_size=1, max_size=12).map(lambda name: bytes(TOKEN[i % len(TOKEN)] for i in name))
values = st.binary(max_size=20).map(lambda value: bytes(33 + i % 94 for i in value))
bodies = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
)
framing_names = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}


@given(
    st.lists(
        st.tuples(
            values,
            st.lists(st.tuples(names.filter(lambda n: n.lower() not in framing_names), values), max_size=5),
            bodies,
        ),
        max_size=4,
    ),
    cuts(),
)
def test_requests_come_out_as_they_went_in(
    requests: list[tuple[bytes, list[tuple[bytes, bytes]], bytes | list[bytes] | None]], places: list[int]
) -> None:
    data = b""
    expected: Summary = []
    for value, fields, body in requests:
        target = b"/" + value.replace(b"#", b"")
        fields = [(b"Host", b"x"), *fields]
        length = None
        if isinstance(body, bytes):
            length = len(body)
            fields = [*fields, (b"Content-Length", b"%d" % length)]
        elif body is not None:
            fields = [*fields, (b"Transfer-Encoding", b"chunked")]
        data += (
            b"POST %b HTTP/1.1\r\n" % target + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
        )
        if isinstance(body, bytes):
            data += body
        elif body is not None:
            data += b"".join(chunk(part) for part in body) + LAST_CHUNK
        headers = tuple((name.lower(), value) for name, value in fields)
        expected.append(("POST", target, headers, (length, isinstance(body, list), True, None)))
        if body or isinstance(body, list):  # else the head is all
            expected.append((body if isinstance(body, bytes) else b"".join(body),))
    assert summary(pieces(data, places)) == [*expected, ("partial", b"")]
