import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from extra.protocols.handshake import Accepted, HandshakeRefused, accept_websocket

REQUEST = [
    (b"host", b"127.0.0.1"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]

SUBPROTOCOLS = ["extra.v1.json", "extra.v1.msgpack"]


def accept(*more: tuple[bytes, bytes], deflate: bool = False) -> Accepted:
    return accept_websocket([*REQUEST, *more], "GET", "1.1", subprotocols=SUBPROTOCOLS, deflate=deflate)


def test_answer_is_that_of_the_specification() -> None:
    """RFC 6455 1.3: the sample nonce and its answer."""
    accepted = accept()
    assert accepted.status == 101
    assert accepted.headers == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]
    assert (accepted.subprotocol, accepted.deflate) == (None, False)


@pytest.mark.parametrize(
    ("offers", "subprotocol"),
    [
        ([b"extra.v1.json"], "extra.v1.json"),
        ([b"extra.v1.msgpack, extra.v1.json"], "extra.v1.msgpack"),
        ([b"extra.v9.cbor", b"extra.v1.json,extra.v1.msgpack"], "extra.v1.json"),
        ([b"extra.v9.cbor"], None),
        ([b"EXTRA.V1.JSON"], None),
    ],
)
def test_subprotocol_is_the_first_of_the_clients_that_is_spoken_here(
    offers: list[bytes], subprotocol: str | None
) -> None:
    """docs/protocol.md, WebSocket: without a subprotocol it is JSON."""
    accepted = accept(*[(b"sec-websocket-protocol", offer) for offer in offers])
    assert accepted.subprotocol == subprotocol
    answers = [value for name, value in accepted.headers if name == b"Sec-WebSocket-Protocol"]
    assert answers == ([subprotocol.encode()] if subprotocol else [])


DEFLATED = (
    b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
)


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ([], None),
        ([b"permessage-deflate"], DEFLATED),
        ([b"permessage-deflate; client_max_window_bits"], DEFLATED),
        ([b"permessage-deflate; client_max_window_bits=10"], DEFLATED + b"; client_max_window_bits=10"),
        ([b"permessage-deflate; server_max_window_bits=15"], DEFLATED),
        ([b"permessage-deflate; server_max_window_bits=12"], DEFLATED),
        ([b"permessage-deflate; server_max_window_bits=11"], None),
        ([b"permessage-deflate; server_max_window_bits=8"], None),
        ([b"permessage-deflate; server_max_window_bits=10, permessage-deflate"], DEFLATED),
        ([b"x-other", b"permessage-deflate"], DEFLATED),
        ([b"permessage-deflate; unknown=1"], None),
        ([b"permessage-deflate; client_no_context_takeover; client_no_context_takeover"], None),
    ],
)
def test_deflate_is_agreed_upon_without_context_takeover(offers: list[bytes], answer: bytes | None) -> None:
    """RFC 7692 7.1: the first offer that suits; the window is ours or there is none."""
    headers = [(b"sec-websocket-extensions", offer) for offer in offers]
    accepted = accept(*headers, deflate=True)
    answers = [value for name, value in accepted.headers if name == b"Sec-WebSocket-Extensions"]
    assert answers == ([answer] if answer else [])
    assert accepted.deflate is (answer is not None)
    assert accept(*headers).deflate is False


@pytest.mark.parametrize("deflate", [False, True])
def test_client_of_websockets_agrees(deflate: bool) -> None:
    client = ClientProtocol(parse_uri("ws://127.0.0.1/ws"), subprotocols=["extra.v1.json"])  # type: ignore[list-item]  # a NewType
    request = client.connect()
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.raw_items()]
    accepted = accept_websocket(headers, "GET", "1.1", subprotocols=SUBPROTOCOLS, deflate=deflate)
    assert accepted.subprotocol == "extra.v1.json"


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({b"upgrade": b"h2c"}, 426, "not a request to upgrade to WebSocket"),
        ({b"connection": b"close"}, 426, "not a request to upgrade to WebSocket"),
        ({b"connection": b"@"}, 400, "connection cannot be parsed"),
        ({b"sec-websocket-version": b"8"}, 426, "WebSocket version '8', not 13"),
        ({b"sec-websocket-version": None}, 400, "sec-websocket-version is missing"),
        ({b"sec-websocket-key": b"c2hvcnQ="}, 400, "sec-websocket-key is not 16 bytes in base64"),
        ({b"sec-websocket-key": b"?"}, 400, "sec-websocket-key is not 16 bytes in base64"),
    ],
)
def test_request_that_opens_no_websocket_is_refused(
    changed: dict[bytes, bytes | None], status: int, message: str
) -> None:
    """RFC 6455 4.2.1 and 4.4."""
    headers = [(name, changed.get(name, value)) for name, value in REQUEST]
    with pytest.raises(HandshakeRefused) as refused:
        accept_websocket(
            [(name, value) for name, value in headers if value is not None], "GET", "1.1", subprotocols=[]
        )
    assert (refused.value.status, str(refused.value)) == (status, message)
    with pytest.raises(HandshakeRefused) as refused:
        accept_websocket([*REQUEST, REQUEST[3]], "GET", "1.1", subprotocols=[])
    assert str(refused.value) == "sec-websocket-key is given more than once"


def test_refusal_says_what_to_answer() -> None:
    with pytest.raises(HandshakeRefused, match=r"^WebSocket handshake in HTTP/1\.0, not 1\.1$") as refused:
        accept_websocket(REQUEST, "GET", "1.0", subprotocols=[])
    assert refused.value.status == 400
    with pytest.raises(HandshakeRefused, match=r"^WebSocket handshake with method 'POST'$") as refused:
        accept_websocket(REQUEST, "POST", "1.1", subprotocols=[])
    assert (refused.value.status, refused.value.headers) == (405, [(b"Allow", b"GET")])
    assert refused.value.code == "remote_protocol_error"
