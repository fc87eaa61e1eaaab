"""Whatever the headers, a handshake is accepted or refused with a status."""

from hypothesis import given, settings
from hypothesis import strategies as st

from extra.protocols.handshake import HandshakeRefused, accept_websocket

REQUEST = [
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]

names = st.sampled_from(
    [name for name, _ in REQUEST] + [b"sec-websocket-protocol", b"sec-websocket-extensions"]
)
tokens = st.sampled_from(
    [b"permessage-deflate", b";", b",", b"=", b'"', b"server_max_window_bits", b"12", b"9", b" ", b"x"]
)
values = st.binary(max_size=20) | st.lists(tokens, max_size=8).map(b"".join)


@settings(deadline=None)
@given(st.lists(st.tuples(names, values), max_size=4), st.sets(st.integers(0, 3)), st.booleans())
def test_handshake_is_accepted_or_refused(
    headers: list[tuple[bytes, bytes]], kept: set[int], deflate: bool
) -> None:
    request = [REQUEST[index] for index in kept] + headers
    refused: HandshakeRefused | None = None
    try:
        accepted = accept_websocket(request, "GET", "1.1", subprotocols=["x"], deflate=deflate)
    except HandshakeRefused as error:
        refused = error
    if refused is not None:
        assert refused.status in (400, 426)
        assert len(str(refused)) < 200
    else:
        assert accepted.status == 101
        assert all(b"\r" not in value and b"\n" not in value for _, value in accepted.headers)
