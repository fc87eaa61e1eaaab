"""HTTP/1.1 requests become events, and the limits hold, however the bytes are cut."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extra.errors import LocalProtocolError, RemoteProtocolError
from extra.protocols.http1 import (
    LAST_CHUNK,
    PIECE,
    BodyPart,
    HTTP1Parser,
    MalformedRequest,
    OversizeRequest,
    RequestEnd,
    RequestEvent,
    RequestHead,
    UnsupportedRequest,
    chunk,
    response_head,
)

HEAD_MEMBERS = [
    "chunked",
    "content_length",
    "expect_continue",
    "has_body",
    "headers",
    "http_version",
    "keep_alive",
    "method",
    "target",
    "upgrade",
]

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


def events_of(parser: HTTP1Parser) -> Iterator[RequestEvent]:
    while (event := parser.next_event()) is not None:
        yield event


def parse(*pieces: bytes, head_limit_bytes: int = 32768, headers_limit: int = 100) -> list[RequestEvent]:
    """Return the events of what is received piece by piece."""
    parser = HTTP1Parser(head_limit_bytes=head_limit_bytes, headers_limit=headers_limit)
    events: list[RequestEvent] = []
    for piece in pieces:
        parser.receive_data(piece)
        events += events_of(parser)
    return events


def head_of(data: bytes) -> RequestHead:
    head = parse(data)[0]
    assert isinstance(head, RequestHead)
    return head


def body_of(events: list[RequestEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, BodyPart))


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def refusal(*pieces: bytes, head_limit_bytes: int = 32768, headers_limit: int = 100) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        parse(*pieces, head_limit_bytes=head_limit_bytes, headers_limit=headers_limit)
    return caught.value


def test_head_is_given_with_names_in_lower_case_and_values_without_surrounding_space() -> None:
    head = head_of(b"GET /a?b=c HTTP/1.1\r\nHost:x\r\nX-Empty:\r\nACCEPT: \t text/html \t\r\n\r\n")
    assert (head.method, head.target, head.http_version) == ("GET", b"/a?b=c", "1.1")
    assert head.headers == [(b"host", b"x"), (b"x-empty", b""), (b"accept", b"text/html")]
    assert (head.keep_alive, head.upgrade, head.expect_continue) == (True, None, False)
    assert (head.content_length, head.chunked, head.has_body) == (None, False, False)


def test_request_without_a_body_is_its_head() -> None:
    assert [type(event) for event in parse(GET + GET)] == [RequestHead, RequestHead]


def test_body_of_known_length_ends_with_its_last_byte() -> None:
    events = parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel", b"lo" + GET)
    assert [type(event) for event in events] == [RequestHead, BodyPart, BodyPart, RequestEnd, RequestHead]
    assert body_of(events) == b"hello"


def test_length_zero_is_no_body() -> None:
    (head,) = parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert (head.content_length, head.has_body) == (0, False)


@pytest.mark.parametrize("zeros", [20, 5000])
def test_length_of_too_many_digits_is_malformed(zeros: int) -> None:
    """As a number it would be fine: the digits alone are what is wrong with it."""
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b1\r\n\r\nx" % (b"0" * zeros)
    for pieces in ([data], one_by_one(data)):
        error = refusal(*pieces)
        assert (error.status, str(error)) == (400, "Content-Length of too many digits")


@pytest.mark.parametrize("line", [b"POST /t/a RTSP/1.0", b"GET /t/a RTSP/1.0", b"SOURCE /t/a ICE/1.0"])
def test_other_protocols_that_llhttp_knows_are_not_spoken(line: bytes) -> None:
    data = line + b"\r\nHost: x\r\n\r\n"
    for pieces in ([data], one_by_one(data), [GET + data]):
        assert refusal(*pieces).status == 505


@pytest.mark.parametrize("cut", [False, True])
def test_http_1_0_is_told_from_them_wherever_its_head_begins(cut: bool) -> None:
    first = b"GET /first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    second = b"\r\nGET /second HTTP/1.0\r\nX: " + b"x" * 2 * PIECE + b"\r\n\r\n"
    data = first + second
    heads = parse(*(one_by_one(data) if cut else [data]))
    assert [head.target for head in heads if isinstance(head, RequestHead)] == [b"/first", b"/second"]


def test_nothing_comes_behind_the_last_request_whatever_it_asked_to_upgrade_to() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n"
    last = head + b"Content-Length: 2\r\n\r\nok"
    for pieces in ([last + GET], one_by_one(last + GET), [last[:-1], last[-1:] + GET]):
        assert [type(event) for event in parse(*pieces) if type(event) is not BodyPart] == [
            RequestHead,
            RequestEnd,
        ]


@pytest.mark.parametrize("flaw", [b"na me: x\r\n", b": x\r\n", b"a: \0\r\n"])
@pytest.mark.parametrize("fields", [2, 3, 4])
def test_what_is_wrong_with_a_head_does_not_depend_on_where_it_is_cut(flaw: bytes, fields: int) -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * (fields - 1) + flaw + b"\r\n"
    for pieces in ([data], one_by_one(data)):
        assert refusal(*pieces, headers_limit=3).status == 400


def test_chunks_are_joined_and_their_extensions_dropped() -> None:
    """RFC 9112 7.1.1: a recipient ignores extensions that it does not know."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
    events = parse(head + b'5;a=b;c="d"\r\nhello\r\n1\r\n!\r\n0\r\n\r\n')
    assert body_of(events) == b"hello!"
    assert isinstance(events[-1], RequestEnd)


def test_trailers_stay_out_of_the_head() -> None:
    """RFC 9110 6.5.1: they are not merged into the header section."""
    head, *_ = events = parse(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: evil\r\nX: y\r\n\r\n"
        + GET
    )
    assert isinstance(head, RequestHead)
    assert head.headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
    assert isinstance(events[2], RequestHead)
    assert events[2].headers == [(b"host", b"x")]


def test_pipelined_requests_come_in_their_order() -> None:
    targets = [
        event.target for event in parse(GET.replace(b"/a", b"/1") + GET) if isinstance(event, RequestHead)
    ]
    assert targets == [b"/1?b=c", b"/a?b=c"]


def described(events: list[RequestEvent]) -> list[object]:
    """Return heads by their members, and bodies in one part, however they were cut."""
    seen: list[object] = []
    for event in events:
        if isinstance(event, RequestHead):
            seen.append({name: getattr(event, name) for name in HEAD_MEMBERS})
        elif isinstance(event, BodyPart) and isinstance(seen[-1], bytes):
            seen[-1] += event.data
        elif isinstance(event, BodyPart):
            seen.append(event.data)
        else:
            seen.append("end")
    return seen


def outcome(*pieces: bytes, **limits: int) -> tuple[list[object], str]:
    """Return what is made of the pieces, and what is wrong with them."""
    parser = HTTP1Parser(**limits)  # type: ignore[arg-type]
    events: list[RequestEvent] = []
    try:
        for piece in pieces:
            parser.receive_data(piece)
            events += events_of(parser)
    except MalformedRequest as error:
        return described(events), f"{error.status} {error}"
    return described(events), ""


BLOCKS = [
    b"\r\nHost: x\r\n\r\n",
    b"\r\nHost: x\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
    b"\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"\r\nHost: x\r\nX: " + 3000 * b"y" + b"\r\n\r\n",
]
BODIES = {b"Content-Length: 5": b"hello", b"chunked": b"5\r\nhello\r\n0\r\n\r\n"}
LINES = [
    b"GET / HTTP/1.1",
    b"GET /other?x=%20y HTTP/1.1",
    b"POST /t/a HTTP/1.1",
    b"QUERY / HTTP/1.1",
    b"PURGE / HTTP/1.1",
    b"CONNECT x:1 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET http://x/ HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"GET /a#b HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /a\tb HTTP/1.1",
    b"GET /\xc3\xa4 HTTP/1.1",
    b"GET / RTSP/1.0",
    b"get / HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET /\0 HTTP/1.1",
    b"GET /a\nb HTTP/1.1",
    b"GET /a\rb HTTP/1.1",
    b"GET / HTTP/1.1\r",
    b"\r\nGET / HTTP/1.1",
    b"GET / HTTP/1.1\r\nX: y",
    b"",
]


def request(line: bytes, block: bytes) -> bytes:
    return line + block + next((body for sign, body in BODIES.items() if sign in block), b"")


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("line", LINES)
def test_fields_that_are_known_already_make_no_difference(line: bytes, block: bytes) -> None:
    first = request(b"GET /first HTTP/1.1", block)
    if any(sign in block for sign in (b"Connection: close", b"Upgrade")):
        first = GET
    again = request(line, block)
    before, _ = outcome(first)
    alone, flaw = outcome(again)
    assert outcome(first, again) == (before + alone, flaw)
    assert outcome(first, first, again) == (before + before + alone, flaw)
    assert outcome(first + again) == (before + alone, flaw)
    assert outcome(first, again[:-3], again[-3:]) == (before + alone, flaw)
    assert outcome(first, again + again)[0][: len(before + alone)] == before + alone


@given(target=st.binary(max_size=20), data=st.data())
def test_no_target_passes_because_its_fields_are_known(target: bytes, data: st.DataObject) -> None:
    block = data.draw(st.sampled_from(BLOCKS[:4]))
    line = b"GET /%b HTTP/1.1" % target
    first = request(b"GET /first HTTP/1.1", block)
    before, _ = outcome(first)
    alone, flaw = outcome(request(line, block))
    assert outcome(first, request(line, block)) == (before + alone, flaw)


def test_limits_hold_where_fields_are_known() -> None:
    block = b"\r\nHost: x\r\n\r\n"
    long = request(b"GET /" + 100 * b"a" + b" HTTP/1.1", block)
    for limit in (60, 100, 110, 112, 120):
        alone, flaw = outcome(long, head_limit_bytes=limit)
        before, _ = outcome(GET, head_limit_bytes=limit)
        assert outcome(GET, long, head_limit_bytes=limit) == (before + alone, flaw)


@pytest.mark.parametrize("target", [b"/" + 3000 * b"a", b"/"])
@pytest.mark.parametrize("field", [b"x: " + 3000 * b"a", b"x: a"])
def test_no_large_head_is_kept(target: bytes, field: bytes) -> None:
    parser = HTTP1Parser()
    parser.receive_data(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
    assert isinstance(parser.next_event(), RequestHead)
    is_small = len(target) + len(field) < 100
    assert (parser._known is not None) is bool(parser._known_bytes) is is_small


def test_empty_lines_between_requests_do_not_add_up_where_fields_are_known() -> None:
    parser = HTTP1Parser(head_limit_bytes=64)
    for _ in range(3000):
        parser.receive_data(b"\r\n")
        assert list(events_of(parser)) == []
        parser.receive_data(GET)
        assert len(list(events_of(parser))) == 1


def test_who_changes_the_fields_of_a_request_does_not_change_those_of_the_next() -> None:
    parser = HTTP1Parser()
    for _ in range(3):
        parser.receive_data(GET)
        head = parser.next_event()
        assert isinstance(head, RequestHead)
        assert head.headers == [(b"host", b"x")]
        head.headers.append((b"x-forwarded-for", b"y"))


def test_only_a_piece_of_what_was_received_is_parsed_ahead() -> None:
    parser = HTTP1Parser()
    parser.receive_data(GET * 10_000)
    parser.next_event()
    assert parser.unparsed_bytes == len(GET) * 10_000 - PIECE


def test_unparsed_data_is_kept_in_order_behind_what_comes_later() -> None:
    parser = HTTP1Parser()
    parser.receive_data(GET * 1000)
    parser.next_event()
    parser.receive_data(GET)
    heads = [event for event in events_of(parser) if isinstance(event, RequestHead)]
    assert len(heads) == 1000


def test_large_body_of_known_length_is_parsed_in_one_go() -> None:
    parser = HTTP1Parser()
    parser.receive_data(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000 + GET
    )
    sizes = [len(event.data) for event in events_of(parser) if isinstance(event, BodyPart)]
    assert sum(sizes) == 100_000
    assert len(sizes) == 2


def test_in_message_tells_whether_a_request_has_begun() -> None:
    parser = HTTP1Parser()
    seen = []
    for data in (b"\r\n", b"G", GET[1:], b""):
        parser.receive_data(data)
        list(events_of(parser))
        seen.append(parser.in_message)
    assert seen == [False, True, False, False]


@pytest.mark.parametrize(
    ("data", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_connection_goes_on_as_version_and_connection_say(data: bytes, keep_alive: bool) -> None:
    """RFC 9112 9.3."""
    assert head_of(data).keep_alive is keep_alive


def test_nothing_is_looked_at_after_the_last_request() -> None:
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    parser = HTTP1Parser()
    parser.receive_data(last + b"\0garbage" * 2000)
    assert [type(event) for event in events_of(parser)] == [RequestHead]
    parser.receive_data(b"more")
    assert parser.unparsed_bytes == 0
    assert parser.next_event() is None


def test_expectation_is_noted_in_1_1_and_ignored_in_1_0() -> None:
    """RFC 9110 10.1.1."""
    fields = b"Host: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
    assert head_of(b"POST / HTTP/1.1\r\n" + fields).expect_continue is True
    assert head_of(b"POST / HTTP/1.0\r\n" + fields).expect_continue is False
    assert head_of(b"POST / HTTP/1.0\r\nExpect: other\r\n\r\n").expect_continue is False


def test_upgrade_is_told_and_the_rest_left_alone() -> None:
    parser = HTTP1Parser()
    parser.receive_data(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x81\x80abcd"
    )
    head = parser.next_event()
    assert isinstance(head, RequestHead)
    assert head.upgrade == b"websocket"
    assert parser.take_rest() == b"\x81\x80abcd"
    parser.receive_data(b"more")
    assert parser.next_event() is None


def test_upgrade_not_taken_is_followed_by_the_next_request() -> None:
    """RFC 9110 7.8: a server may ignore Upgrade."""
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert [type(event) for event in parse(upgrade + GET)] == [RequestHead] * 2
    assert [type(event) for event in parse(*one_by_one(upgrade + GET))] == [RequestHead] * 2


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("version", "framed"),
    [
        (b"1.0", b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)),
        (b"1.1", b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)),
        (
            b"1.1",
            b"Transfer-Encoding: chunked\r\n\r\n" + chunk(SMUGGLED[:9]) + chunk(SMUGGLED[9:]) + LAST_CHUNK,
        ),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_body_of_a_request_with_upgrade_is_its_body(version: bytes, framed: bytes, cut: bool) -> None:
    """To llhttp it has none, and the body would be the next request."""
    upgrade = b"Connection: Upgrade, keep-alive\r\nUpgrade: h2c\r\n"
    data = b"POST /up HTTP/" + version + b"\r\nHost: x\r\n" + upgrade + framed + GET
    events = parse(*(one_by_one(data) if cut else [data]))
    heads = [event for event in events if isinstance(event, RequestHead)]
    assert [head.target for head in heads] == [b"/up", b"/a?b=c"]
    assert body_of(events) == SMUGGLED


def test_events_do_not_depend_on_the_cut() -> None:
    data = (
        GET
        + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
        + GET
    )
    whole, cut = parse(data), parse(*one_by_one(data))
    assert body_of(whole) == body_of(cut)
    assert [type(event) for event in whole if not isinstance(event, BodyPart)] == [
        type(event) for event in cut if not isinstance(event, BodyPart)
    ]


# Limits.


def head_of_size(fields_bytes: int) -> bytes:
    """Return a request whose target and fields are counted as so many bytes."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
    counted = len(b"/") + len(b"Host: x\r\n") + len(b"X: \r\n")
    return start + b"y" * (fields_bytes - counted) + b"\r\n\r\n"


@pytest.mark.parametrize("cut", [False, True])
def test_head_may_be_as_large_as_the_limit_and_no_larger(cut: bool) -> None:
    for size in (1000, 32768):
        data = head_of_size(size)
        assert len(parse(*(one_by_one(data) if cut else [data]), head_limit_bytes=size)) == 1
        data = head_of_size(size + 1)
        error = refusal(*(one_by_one(data) if cut else [data]), head_limit_bytes=size)
        assert (error.status, error.code) == (431, "limit_exceeded")
        assert str(error) == f"head larger than head_limit_bytes={size}"


def test_target_that_is_too_long_is_told_apart() -> None:
    """RFC 9110 15.5.15."""
    error = refusal(b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n", head_limit_bytes=1000)
    assert (type(error), error.status, str(error)) == (
        OversizeRequest,
        414,
        "target longer than head_limit_bytes=1000",
    )


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_ten_thousand_header_bytes_are_too_many_for_a_smaller_limit(end: bytes) -> None:
    """Also while the field that they are in has not ended: nobody waits for that."""
    error = refusal(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000 + end, head_limit_bytes=5000)
    assert error.status == 431


def test_number_of_fields_is_limited() -> None:
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    assert len(parse(start + b"X: y\r\n" * 9 + b"\r\n", headers_limit=10)) == 1
    error = refusal(start + b"X: y\r\n" * 10 + b"\r\n", headers_limit=10)
    assert (error.status, str(error)) == (431, "more header fields than headers_limit=10")


@pytest.mark.parametrize("filler", [b"\r\n", b"GET / HTTP/1.1\r\nHost: " + b" " * 40_000])
def test_what_completes_no_field_is_counted_as_well(filler: bytes) -> None:
    error = refusal(*[filler] * 3000, head_limit_bytes=1000)
    assert error.status == 431


def test_trailers_count_as_fields() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    error = refusal(chunked + b"X: " + b"y" * 900 + b"\r\n\r\n", head_limit_bytes=900)
    assert (error.status, str(error)) == (431, "trailers larger than head_limit_bytes=900")
    error = refusal(chunked + b"X: y\r\n" * 10, headers_limit=10)
    assert error.status == 431


def test_chunks_may_be_as_small_as_one_byte() -> None:
    data = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 20_000
        + b"0\r\n\r\n"
    )
    assert len(body_of(parse(data, head_limit_bytes=200))) == 20_000


def test_what_a_message_costs_is_not_held_against_the_next() -> None:
    large = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    chunked = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"y" * 9000) + LAST_CHUNK
    )
    assert len(body_of(parse(large, chunked, head_limit_bytes=100))) == 59_000
    assert len(body_of(parse(chunked, large, head_limit_bytes=100))) == 59_000


def test_chunks_that_are_mostly_extension_are_refused() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    error = refusal(head, *[b"1;" + b"a" * 90 + b"\r\nx\r\n"] * 100, head_limit_bytes=1000)
    assert error.status == 413
    error = refusal(head, b"1;", *[b"a"] * 6000, head_limit_bytes=1000)
    assert error.status == 413


# Errors.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"BREW / HTTP/1.1\r\n", 501),
        (b"get / HTTP/1.1\r\n", 501),
        (b"\x16\x03\x01\x02\x00", 501),
        (b"DESCRIBE / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 501),
        (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", 417),
    ],
)
def test_what_is_not_spoken_here_is_said_to_be_so(data: bytes, status: int) -> None:
    """RFC 9110 9.1, 10.1.1, 15.6.6."""
    error = refusal(data)
    assert (type(error), error.status, error.code) == (UnsupportedRequest, status, "unsupported")
    assert refusal(*one_by_one(data)).status == status


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GET / HTTP/1.1", "no Host"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x", "Host given twice"),
        (b"GET / HTTP/1.1\r\nHost: x/y", "malformed Host"),
        (b"GET /#a HTTP/1.1\r\nHost: x", "fragment in the target"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", "transfer coding in HTTP/1.0"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
            "unsupported transfer coding: only chunked is",
        ),
    ],
)
def test_what_llhttp_lets_through_is_refused_here(head: bytes, message: str) -> None:
    """RFC 9112 3.2 and 6.1; the whole table is in tests/conformance/http1."""
    assert str(refusal(head + b"\r\n\r\n")) == message


def test_error_comes_after_the_requests_before_it_and_stays() -> None:
    parser = HTTP1Parser()
    parser.receive_data(GET + b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(parser.next_event(), RequestHead)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=r"^no Host$"):
            parser.next_event()
        parser.receive_data(GET)


def test_messages_say_what_is_wrong_and_hold_nothing_of_the_peer() -> None:
    error = refusal(b"GET / HTTP/1.1\r\nHost: x\r\nSecret token: s3cret\r\n\r\n")
    assert str(error) == "invalid header token"


# What goes out.


def test_response_head_has_its_fields_in_their_order_and_the_common_lines_last() -> None:
    head = response_head(200, [("Content-Length", "3"), ("X-Name", "é")], "Date: now\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Name: \xe9\r\nDate: now\r\n\r\n"


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\rb", "a\nb", "a\0b", "\n", "€"])
def test_fields_that_would_break_a_head_are_not_sent(bad: str) -> None:
    """RFC 9110 5.5."""
    with pytest.raises(LocalProtocolError):
        response_head(200, [("X", bad)])
    with pytest.raises(LocalProtocolError):
        response_head(200, [(bad, "x")])


def test_unknown_status_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="unknown status 299"):
        response_head(299, [])


def test_chunk_has_its_size_in_hexadecimal_and_an_empty_one_is_nothing() -> None:
    """RFC 9112 7.1: an empty chunk would end the body."""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""
