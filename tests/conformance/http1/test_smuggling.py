"""Shapes with which requests are smuggled: each is refused, and nothing behind it is taken for a request.

A proxy and a server that disagree about where a request ends can be made to disagree about who asks for what.
Where RFC 9112 leaves the choice between guessing and refusing, this server refuses and ends the connection.
"""

import pytest

from extra.http import Request, Response
from extra.protocols.http1 import HTTP1Parser, MalformedRequest
from tests.unit.servers.serving import replies, serving, turns

EVIL = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = [
    # RFC 9112 6.3: how long the body is.
    ("6.3", "both lengths", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "6.3",
        "both, other order",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("6.3", "two lengths", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("6.3", "two equal lengths", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("6.3", "list of lengths", POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    ("6.3", "signed length", POST + b"Content-Length: +3\r\n\r\nabc", 400),
    ("6.3", "negative length", POST + b"Content-Length: -3\r\n\r\nabc", 400),
    ("6.3", "hexadecimal length", POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    ("6.3", "fraction of a length", POST + b"Content-Length: 3.0\r\n\r\nabc", 400),
    ("6.3", "underscore in a length", POST + b"Content-Length: 1_0\r\n\r\n0123456789", 400),
    ("6.3", "space in a length", POST + b"Content-Length: 1 0\r\n\r\n0123456789", 400),
    ("6.3", "empty length", POST + b"Content-Length:\r\n\r\nabc", 400),
    ("6.3", "length without end", POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    # RFC 9112 6.1: transfer codings.
    ("6.1", "coding like chunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("6.1", "coding after chunked", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("6.1", "coding before chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("6.1", "another coding", POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    ("6.1", "chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "6.1",
        "chunked in two fields",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("6.1", "chunked in quotes", POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    ("6.1", "no coding", POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("6.1", "vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("6.1", "space before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("6.1", "chunks in 1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # RFC 9112 7.1: chunks.
    ("7.1", "size with prefix", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "signed size", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "negative size", CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "no size", CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "size with a space", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "underscore in a size", CHUNKED + b"1_0\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "size without end", CHUNKED + b"f" * 20 + b"\r\n", 400),
    ("7.1", "chunk longer than its size", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    ("7.1", "chunk shorter than its size", CHUNKED + b"5\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "bare LF after a size", CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400),
    ("7.1", "bare LF after a chunk", CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400),
    ("7.1", "bare CR after a size", CHUNKED + b"3\rabc\r\n0\r\n\r\n", 400),
    ("7.1.1", "LF in an extension", CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1.1", "CR in an extension", CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400),
    ("7.1.2", "length in a trailer", CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n", 400),
    # RFC 9112 3.2: who is asked.
    ("3.2", "no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("3.2", "two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("3.2", "one Host twice", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    ("3.2", "two Hosts in 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("3.2", "Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("3.2", "Host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("3.2", "Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("3.2", "Host with a bad port", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    ("3.2", "fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("3.2", "space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("3.2", "control character in the target", b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("3.2", "octets in the target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("3.2", "no target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("3.2", "relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    # RFC 9112 2.2 and 5: lines.
    ("2.2", "bare LF after the request line", b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    ("2.2", "bare LF after a field", b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    ("2.2", "bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    ("2.2", "bare CR after a field", b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    ("2.2", "CR CR LF", b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 400),
    ("2.2", "space before the first field", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("5.1", "space before the colon", b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
    ("5.1", "space in a name", b"GET / HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n", 400),
    ("5.1", "no name", b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400),
    ("5.1", "no colon", b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400),
    ("5.1", "delimiters in a name", b"GET / HTTP/1.1\r\nHost: x\r\nX(y): z\r\n\r\n", 400),
    ("5.2", "folded line", b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", 400),
    ("5.2", "line folded with a tab", b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\tz\r\n\r\n", 400),
    ("5.5", "NUL in a value", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    ("5.5", "DEL in a value", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x7fb\r\n\r\n", 400),
    ("5.5", "NUL in a name", b"GET / HTTP/1.1\r\nHost: x\r\nX\0: a\r\n\r\n", 400),
    # Versions and methods.
    ("2.3", "0.9", b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    ("2.3", "2.0", b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ("2.3", "how HTTP/2 begins", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("2.3", "version in lower case", b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    ("3.1", "unknown method", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ("3.2.3", "tunnel", b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 501),
]

ACCEPTED = [
    ("2.2", "empty lines before a request", b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("3.2", "empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("3.2", "Host that is an address", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"),
    ("3.2.2", "absolute form", b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("5.5", "octets in a value", b"GET / HTTP/1.1\r\nHost: x\r\nX: \xc3\xa9 \x80\r\n\r\n"),
    ("6.1", "chunked in capitals", POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n"),
    ("6.3", "length with leading zeros", POST + b"Content-Length: 0003\r\n\r\nabc"),
    ("7.1", "size with leading zeros", CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n"),
]


def name(value: object) -> str:
    return value if isinstance(value, str) else ""


def parse(pieces: list[bytes]) -> None:
    parser = HTTP1Parser()
    for piece in pieces:
        parser.receive_data(piece)
        while parser.next_event() is not None:
            pass


@pytest.mark.parametrize(("clause", "shape", "data", "status"), REFUSED, ids=name)
def test_parser_refuses_in_one_piece_and_byte_by_byte(
    clause: str, shape: str, data: bytes, status: int
) -> None:
    for pieces in ([data + EVIL], [data[i : i + 1] for i in range(len(data))] + [EVIL]):
        with pytest.raises(MalformedRequest) as caught:
            parse(pieces)
        assert caught.value.status == status


@pytest.mark.parametrize(("clause", "shape", "data", "status"), REFUSED, ids=name)
async def test_server_answers_once_and_ends(clause: str, shape: str, data: bytes, status: int) -> None:
    asked: list[str] = []

    async def read(request: Request) -> Response:
        asked.append(request.path)
        return Response(200, await request.body())

    async with serving(read) as run:
        peer = run.connect(data + EVIL)
        await turns()
        (reply,) = replies(peer.received)
        assert (reply.status, reply.fields["connection"]) == (status, "close")
        assert reply.fields["content-type"] == "application/problem+json"
        assert peer.received_eof
        assert "/evil" not in asked


@pytest.mark.parametrize(("clause", "shape", "data"), ACCEPTED, ids=name)
async def test_server_answers_what_only_looks_odd(clause: str, shape: str, data: bytes) -> None:
    async def read(request: Request) -> Response:
        return Response(200, await request.body())

    async with serving(read) as run:
        peer = run.connect(data + EVIL.replace(b"evil", b"good"))
        await turns()
        assert [reply.status for reply in replies(peer.received)] == [200, 200]
