"""HTTP/1.1 for a server: bytes to events with httptools (llhttp), and the bytes of what goes out.

llhttp is strict about syntax, and refuses most of what request smuggling is made of: both lengths, two
Content-Lengths, bare CR or LF, folded lines, a space before the colon, bad chunk sizes, control characters.
This module refuses what llhttp lets through (a missing or second Host, transfer codings other than `chunked`,
chunks in HTTP/1.0, versions other than 1.0 and 1.1, RTSP and ICE, CONNECT), keeps trailers out of the head,
and counts, which llhttp does not do at all.

Heads repeat: whoever keeps a connection sends the same fields with every request of it, and often the same
line. So the last block of fields with nothing special in it is kept with what llhttp made of it. Where a
request begins that brings the same bytes, its fields are not parsed again, nor its line if that is the same.

What is received is kept, and parsed a piece at a time when `next_event` has nothing left to give. So a
connection that answers its requests one after another has never more than one piece of pipelined ones parsed
ahead, whatever the peer sends, and whoever stops asking stops the parsing.

Two limits, for what a message spends apart from its body:

1. The fields of the head, and those of the trailers after them, exactly. How many the head has is looked at
   when it is complete: llhttp tells of a field when the next one begins, a byte sooner or later as the bytes
   are cut.
2. All bytes of a message that are not body, a piece at a time: for what completes no field, such as an
   endless one, padding, or chunk extensions. A chunked body earns `CHUNK_OVERHEAD` of these for each byte.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NoReturn, TypeAlias, final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from mypy_extensions import mypyc_attr

from extra.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "CONTINUE",
    "LAST_CHUNK",
    "BodyPart",
    "HTTP1Parser",
    "MalformedRequest",
    "OversizeRequest",
    "RequestEnd",
    "RequestEvent",
    "RequestHead",
    "UnsupportedRequest",
    "chunk",
    "response_head",
]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

PIECE: Final = 4096
"""Bytes that are parsed in one go, outside of a body whose length is known: some 200 requests at most."""

CHUNK_OVERHEAD: Final = 16
"""Bytes of chunk framing that each byte of a body may cost on average; a chunk of one byte takes 5."""

LENGTH_DIGITS: Final = 19
"""What 64 bits hold. llhttp bounds the number and not its zeros, of which `int` takes 4,300 at most."""

NOTED: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
"""The fields that the framing and the connection depend on."""

HOST: Final = re.compile(rb"(?:[\w\-.~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)
"""RFC 3986 3.2.2, apart from addresses of a future version of IP."""

KNOWN_LIMIT_BYTES: Final = 2048
"""The largest head that a connection keeps, to know it again."""

REQUEST_LINE: Final = re.compile(
    rb"(DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) (/[!\"$-~]*) HTTP/1\.1", re.ASCII
)
"""The request lines that are looked at here, and not by llhttp, where a known block follows."""

STATUS_LINES: Final[dict[int, str]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


@mypyc_attr(native_class=True)
class MalformedRequest(RemoteProtocolError):
    """The bytes are no request of HTTP/1.1. `status` is what to answer; what follows cannot be understood."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status: int = status


@final
@mypyc_attr(native_class=True)
class OversizeRequest(MalformedRequest):
    """The head is larger than a limit (431), or the target alone is (414)."""

    code = "limit_exceeded"


@final
@mypyc_attr(native_class=True)
class UnsupportedRequest(MalformedRequest):
    """A method or coding that is not implemented (501), an expectation (417) or a version (505)."""

    code = "unsupported"


@final
@mypyc_attr(native_class=True)
class RequestHead:
    """The request line and the header fields: all of the request, unless it has a body."""

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        http_version: str,
        keep_alive: bool,
        upgrade: bytes | None,
        expect_continue: bool,
        content_length: int | None,
        chunked: bool,
    ) -> None:
        self.method: Final = method
        self.target: Final = target
        self.headers: Final = headers  # names in lower case, values without the white space around them
        self.http_version: Final = http_version  # "1.0" or "1.1"
        self.keep_alive: Final = keep_alive  # whether the peer lets the connection go on
        self.upgrade: Final = upgrade  # what the peer would like to change to, in lower case
        self.expect_continue: Final = (
            expect_continue  # the peer may wait for `CONTINUE` before it sends the body
        )
        self.content_length: Final = content_length  # None: there is no body, unless it is chunked
        self.chunked: Final = chunked

    @property
    def has_body(self) -> bool:
        """Whether the parts of a body follow and a `RequestEnd`. A chunked body may turn out to be empty."""
        return self.chunked or bool(self.content_length)

    def again(self, method: str, target: bytes) -> "RequestHead":
        """Return the head of another request with the same fields, in a list of its own."""
        return RequestHead(
            method,
            target,
            self.headers.copy(),
            self.http_version,
            self.keep_alive,
            self.upgrade,
            self.expect_continue,
            self.content_length,
            self.chunked,
        )


@final
@mypyc_attr(native_class=True)
class BodyPart:
    """Some bytes of the body, at least one, without the framing of chunks."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data


@final
@mypyc_attr(native_class=True)
class RequestEnd:
    """The body is complete, and the request with it."""


RequestEvent: TypeAlias = RequestHead | BodyPart | RequestEnd


@final
@mypyc_attr(native_class=True)
class HTTP1Parser:
    """The requests of one connection, one after another.

    After a request that ends the connection everything else that is received is dropped. The parser and
    llhttp's hold each other: `close` lets go, so that their memory does not wait for the garbage collector.
    """

    def __init__(
        self,
        *,
        head_limit_bytes: int = 32768,
        headers_limit: int = 100,
        head_limit_name: str = "head_limit_bytes",
        headers_limit_name: str = "headers_limit",
    ) -> None:
        """Expect a first request.

        `head_limit_bytes` is for the target and all header fields together, trailers included;
        `headers_limit` is for the number of fields. The names are what errors call the two.
        """
        self._head_limit: int = head_limit_bytes
        self._headers_limit: int = headers_limit
        self._head_limit_name: str = head_limit_name
        self._headers_limit_name: str = headers_limit_name
        self._llhttp: HttpRequestParser | None = HttpRequestParser(self)
        self._events: list[RequestEvent] = []
        self._taken: int = 0  # of the events
        self._error: MalformedRequest | None = None
        self._data: bytes = b""  # received, and not parsed from `_offset` on
        self._offset: int = 0
        self._ended: bool = False
        self._host: bytes = b""  # the last one that was found to be well-formed
        self._known: RequestHead | None = None  # what was made of the two:
        self._known_line: bytes = b""
        self._known_block: bytes = b""  # of fields: from the end of the line to the empty line
        self._known_bytes: bytes = b""  # the two, where no body follows
        # The message under way.
        self._head: RequestHead | None = None
        self._target: bytes = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._fields: int = 0
        self._fields_bytes: int = 0
        self._body_bytes: int = 0
        self._other_bytes: int = 0
        self._in_message: bool = False
        # The piece that is being parsed.
        self._piece_bytes: int = 0  # without what is body
        self._piece: bytes = b""
        self._completed: bool = False  # a message has ended in it
        self._begun: bytes = b""  # all pieces that hold something of a head that is not complete

    @property
    def unparsed_bytes(self) -> int:
        """How much was received that `next_event` has not come to yet."""
        return len(self._data) - self._offset

    @property
    def has_more(self) -> bool:
        """Whether there is anything that `next_event` has not come to yet."""
        return self._offset < len(self._data) or self._taken < len(self._events)

    @property
    def held_bytes(self) -> int:
        """How much is kept here: what was not parsed, and a head that is not complete."""
        size = len(self._data) - self._offset
        if self._in_message and self._head is None and not self._ended:
            size += self._other_bytes
        return size

    @property
    def in_message(self) -> bool:
        """Whether a request has begun that has not ended, as far as it has been parsed."""
        return self._in_message

    def receive_data(self, data: bytes) -> None:
        """Keep `data` for `next_event`. Bounding what is kept is up to the caller, who can stop to read."""
        if not self._ended:
            self._data = self._data[self._offset :] + data if self._data else data
            self._offset = 0

    def next_event(self) -> RequestEvent | None:
        """Return the next event, or None when more data is needed.

        Raises:
            MalformedRequest: the peer broke the rules, or a limit. What came before it has been returned;
                from here on the same error is raised.
        """
        while self._taken == len(self._events):
            if self._error is not None:
                raise self._error
            if not self._data:
                return None
            if self._known is not None and not self._in_message:
                head = self._recognize(self._known)
                if head is not None:
                    return head
            self._events = []
            self._taken = 0
            self._parse()
        event = self._events[self._taken]
        self._taken += 1
        return event

    def take_rest(self) -> bytes:
        """End, and return what was received after the last request: it is of the protocol upgraded to."""
        rest = self._data[self._offset :]
        self.close()
        return rest

    def close(self) -> None:
        """End. What is received from here on is dropped, and there are no more events."""
        self._ended = True
        self._data = b""
        self._offset = 0
        self._events = []
        self._taken = 0
        self._llhttp = None
        self._known = None
        self._known_line = self._known_block = self._known_bytes = b""

    # Called by llhttp, while a piece is parsed. Raising makes it stop for good.

    def on_message_begin(self) -> None:
        if self._ended:  # to the llhttp of `_read_body_of_upgrade` the connection goes on
            raise MalformedRequest("request behind the last one")
        self._begun = self._piece
        self._head = None
        self._target = b""
        self._headers = []
        self._noted = []
        self._fields = 0
        self._fields_bytes = 0
        self._body_bytes = 0
        self._other_bytes = 0
        self._in_message = True

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._fields_bytes += len(part)
        if self._fields_bytes > self._head_limit:
            limit = f"{self._head_limit_name}={self._head_limit}"
            self._refuse(OversizeRequest(f"target longer than {limit}", 414))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._fields_bytes += len(name) + len(value) + 4  # ": " and CRLF
        if self._fields_bytes > self._head_limit:
            self._refuse(self._oversize_fields())
        if self._head is not None and self._fields > self._headers_limit:
            self._refuse(self._too_many_fields())
        if self._head is None:  # otherwise it is a trailer: RFC 9110 6.5.1 forbids to merge them blindly
            field = (name.lower(), value.rstrip(b" \t"))  # llhttp takes off what stands before it
            self._headers.append(field)
            if field[0] in NOTED:
                self._noted.append(field)

    def on_headers_complete(self) -> None:
        llhttp = self._llhttp
        assert llhttp is not None
        if self._fields > self._headers_limit:  # not before: what else is wrong with the head comes first
            self._refuse(self._too_many_fields())
        method = llhttp.get_method().decode("ascii")
        http_version = llhttp.get_http_version()
        begun = self._begun
        self._begun = b""
        if http_version == "1.0" and b" " + self._target + b" HTTP/1.0" not in begun:
            self._refuse(UnsupportedRequest("unsupported protocol: neither HTTP/1.0 nor HTTP/1.1", 505))
        if http_version != "1.1" and http_version != "1.0":
            self._refuse(UnsupportedRequest(f"unsupported version {http_version}", 505))
        if method == "CONNECT":
            self._refuse(UnsupportedRequest("unsupported method CONNECT", 501))
        if b"#" in self._target:
            self._refuse(MalformedRequest("fragment in the target"))
        hosts = 0
        content_length: int | None = None
        chunked = False
        expect_continue = False
        upgrade: bytes | None = None
        for name, value in self._noted:
            if name == b"host":
                hosts += 1
                if value != self._host:
                    if HOST.fullmatch(value) is None:
                        self._refuse(MalformedRequest("malformed Host"))
                    self._host = value
            elif name == b"content-length":
                if len(value) > LENGTH_DIGITS:
                    self._refuse(MalformedRequest("Content-Length of too many digits"))
                content_length = int(value)  # llhttp lets digits through, and one such field
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    self._refuse(UnsupportedRequest("unsupported transfer coding: only chunked is", 501))
                if http_version == "1.0":  # RFC 9112 6.1: its framing is faulty
                    self._refuse(MalformedRequest("transfer coding in HTTP/1.0"))
                chunked = True
            elif http_version == "1.0":  # RFC 9110 7.8 and 10.1.1: the others do not count in it
                pass
            elif name == b"upgrade":
                upgrade = value.lower() if upgrade is None else upgrade + b", " + value.lower()
            elif value.lower() == b"100-continue":
                expect_continue = True
            else:
                self._refuse(UnsupportedRequest("unsupported expectation", 417))
        if hosts > 1 or (hosts == 0 and http_version == "1.1"):  # RFC 9112 3.2
            self._refuse(MalformedRequest("Host given twice" if hosts else "no Host"))
        keep_alive = llhttp.should_keep_alive()
        self._head = RequestHead(
            method,
            self._target,
            self._headers,
            http_version,
            keep_alive,
            upgrade if upgrade is not None and keep_alive and llhttp.should_upgrade() else None,
            expect_continue,
            content_length,
            chunked,
        )
        self._events.append(self._head)

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self._piece_bytes -= len(data)
        self._events.append(BodyPart(data))

    def on_message_complete(self) -> None:
        head = self._head
        assert head is not None
        assert self._llhttp is not None
        if head.has_body:
            if self._llhttp.should_upgrade():
                return  # not so: see `_read_body_of_upgrade`
            self._events.append(RequestEnd())
        self._in_message = False
        self._completed = True
        if not head.keep_alive:
            self._ended = True

    # The rest is private.

    def _recognize(self, known: RequestHead) -> RequestHead | None:
        """Take the next request from the data, if it has the fields of `known`; None when llhttp has to."""
        data = self._data
        if data == self._known_bytes and not self._offset:
            self._data = b""
            self._other_bytes = 0
            return known.again(known.method, known.target)
        start = self._offset
        line_end = data.find(b"\r\n", start)
        block = self._known_block
        if line_end < 0 or not data.startswith(block, line_end):
            return None
        head_end = line_end + len(block)
        if head_end - start > self._head_limit:  # which counts less than that, and says so
            return None
        end = head_end + (known.content_length or 0)
        if end > len(data):
            return None
        line = data[start:line_end]
        method = known.method
        target = known.target
        if line != self._known_line:
            found = REQUEST_LINE.fullmatch(line)
            if found is None:
                return None
            method = found[1].decode("ascii")
            target = found[2]
        if end == len(data):
            self._data = b""
            self._offset = 0
        else:
            self._offset = end
        if end > head_end:
            self._events = [BodyPart(data[head_end:end]), RequestEnd()]
            self._taken = 0
        self._other_bytes = 0
        return known.again(method, target)

    def _remember(self, piece: bytes) -> None:
        """Know the head at the begin of `piece` again, if there is nothing special in it."""
        head = self._events[0]
        if not isinstance(head, RequestHead) or not head.keep_alive or head.http_version != "1.1":
            return
        if head.upgrade is not None or head.expect_continue or head.chunked:
            return
        line_end = piece.find(b"\r\n")
        end = piece.find(b"\r\n\r\n", line_end) + 4
        if line_end <= 0 or not line_end + 4 <= end <= KNOWN_LIMIT_BYTES:  # 0: empty, and skipped by llhttp
            return
        self._known_line = piece[:line_end]
        self._known_block = piece[line_end:end]
        self._known_bytes = b"" if head.content_length else piece[:end]
        self._known = head.again(head.method, head.target)  # whoever gets the fields may change them

    def _parse(self) -> None:
        """Give llhttp the next piece, and look at what it cost."""
        llhttp = self._llhttp
        assert llhttp is not None
        begins = not self._in_message
        piece = self._next_piece()
        self._piece_bytes = len(piece)
        self._piece = piece
        if self._begun:
            self._begun += piece
        try:
            llhttp.feed_data(piece)
        except HttpParserUpgrade as upgrade:
            self._data = piece[upgrade.args[0] :] + self._data[self._offset :]
            self._offset = 0
            if self._in_message:
                self._read_body_of_upgrade()
        except HttpParserError as error:
            if self._error is None and not self._ended:
                if isinstance(error, HttpParserCallbackError):
                    raise  # a bug in here
                self._error = translate(error)
        if begins and self._events and self._error is None and not self._ended:
            self._remember(piece)
        if self._ended:
            self._data = b""
            self._offset = 0
        if self._completed:  # the piece has bytes of two messages, or more
            self._completed = False
            self._other_bytes = 0
        else:
            self._other_bytes += self._piece_bytes
            if self._other_bytes > self._head_limit + PIECE + CHUNK_OVERHEAD * self._body_bytes:
                self._error = self._error or self._oversize_framing()
        self._piece = b""

    def _next_piece(self) -> bytes:
        """Take from the data: as much as the body still needs if that is known, else a piece."""
        head = self._head
        size = PIECE
        if self._in_message and head is not None and head.content_length is not None:
            size = max(PIECE, head.content_length - self._body_bytes)
        end = self._offset + size
        piece = self._data[self._offset : end]
        if end < len(self._data):
            self._offset = end
        else:
            self._data = b""
            self._offset = 0
        return piece

    def _read_body_of_upgrade(self) -> None:
        """Have the body parsed of a request that also asks for an upgrade: to llhttp it has none.

        Upgrades are for the server to ignore, and what is a body for one reader and a request for the next is
        what request smuggling is made of. So another llhttp gets a head that announces the same body alone.
        """
        head = self._head
        assert head is not None
        self._llhttp = HttpRequestParser(self)
        length = head.content_length
        framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\nhost:\r\n%b\r\n\r\n" % framing)
        self._events.pop()  # that head
        self._head = head

    def _oversize_fields(self) -> OversizeRequest:
        part = "head" if self._head is None else "trailers"
        return OversizeRequest(f"{part} larger than {self._head_limit_name}={self._head_limit}", 431)

    def _too_many_fields(self) -> OversizeRequest:
        limit = f"{self._headers_limit_name}={self._headers_limit}"
        return OversizeRequest(f"more header fields than {limit}", 431)

    def _oversize_framing(self) -> OversizeRequest:
        if self._head is None:
            return self._oversize_fields()
        return OversizeRequest("chunks that are mostly extensions", 413)

    def _refuse(self, error: MalformedRequest) -> NoReturn:
        """Stop llhttp from within one of its calls."""
        self._error = error
        raise error


def response_head(status: int, headers: Iterable[tuple[str, str]], common: str = "") -> bytes:
    """Return a status line and header fields, up to the empty line.

    `common` is lines ready-made, each with its CRLF, for what is the same in many responses.

    Raises:
        LocalProtocolError: a name or a value holds a line break or NUL, or something that is not in Latin-1;
            or there is no such status.
    """
    if status not in STATUS_LINES:
        raise LocalProtocolError(f"unknown status {status}")
    lines = [STATUS_LINES[status]]
    for name, value in headers:
        lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise LocalProtocolError("line break or NUL in a header field")
    try:
        return f"{text}{common}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise LocalProtocolError("header field that is not Latin-1") from None


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk. Without any data that is nothing: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def translate(error: HttpParserError) -> MalformedRequest:
    """Return llhttp's reason as an error of ours."""
    reason = str(error)
    if isinstance(error, HttpParserInvalidMethodError) or reason == "Invalid method for HTTP/x.x request":
        return UnsupportedRequest("unknown method", 501)
    if reason in ("Invalid HTTP version", "Pause on PRI/Upgrade"):  # the latter is how HTTP/2 begins
        return UnsupportedRequest("unsupported version", 505)
    return MalformedRequest(reason.lower())
