"""RFC 6455 4.2.1: what a client's handshake has to have, and what is answered when it has not."""

import pytest

from extra.protocols.handshake import HandshakeRefused, accept_websocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

REQUEST = {
    b"host": b"127.0.0.1",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}

UPGRADE = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
VERSION = [(b"Sec-WebSocket-Version", b"13")]


def request(**changed: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of a good request with some changed, or gone where they are None."""
    headers: dict[bytes, bytes | None] = {**REQUEST}
    headers.update((name.replace("_", "-").encode(), value) for name, value in changed.items())
    return [(name, value) for name, value in headers.items() if value is not None]


def refusal(
    headers: list[tuple[bytes, bytes]], method: str = "GET", http_version: str = "1.1"
) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as refused:
        accept_websocket(headers, method, http_version, subprotocols=["extra.v1.json"], deflate=True)
    return refused.value


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(request(), id="as it should be"),
        pytest.param(request(upgrade=b"WebSocket"), id="ASCII case-insensitive upgrade"),
        pytest.param(request(connection=b"keep-alive, upgrade"), id="connection with other options"),
        pytest.param(request(connection=b"UPGRADE"), id="ASCII case-insensitive connection"),
        pytest.param(request(upgrade=b"h2c, websocket"), id="upgrade with other protocols"),
        pytest.param(
            [*request(connection=b"keep-alive"), (b"connection", b"Upgrade")], id="connection twice"
        ),
        pytest.param([(name.title(), value) for name, value in request()], id="names in upper case"),
        pytest.param([*request(), (b"x-other", b"\xff")], id="other fields"),
    ],
)
def test_handshake_is_accepted(headers: list[tuple[bytes, bytes]]) -> None:
    """4.2.1"""
    accepted = accept_websocket(headers, "GET", "1.1", subprotocols=[])
    assert accepted.status == 101
    assert (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in accepted.headers


@pytest.mark.parametrize("method", ["POST", "HEAD", "get", ""])
def test_method_has_to_be_get(method: str) -> None:
    """4.2.1, 1."""
    refused = refusal(request(), method=method)
    assert (refused.status, refused.headers) == (405, [(b"Allow", b"GET")])


@pytest.mark.parametrize("http_version", ["1.0", "0.9", "2"])
def test_version_of_http_has_to_be_1_1(http_version: str) -> None:
    """4.2.1, 1."""
    assert refusal(request(), http_version=http_version).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(request(upgrade=None), id="no upgrade"),
        pytest.param(request(upgrade=b"h2c"), id="upgrade to something else"),
        pytest.param(request(upgrade=b"websocket/13"), id="upgrade to a version"),
        pytest.param(request(connection=None), id="no connection"),
        pytest.param(request(connection=b"keep-alive"), id="connection without upgrade"),
        pytest.param(request(connection=b"x-upgrade"), id="another option"),
    ],
)
def test_what_is_no_upgrade_to_websocket_is_told_to_upgrade(headers: list[tuple[bytes, bytes]]) -> None:
    """4.2.1, 3. and 4.; RFC 9110 15.5.22: a 426 has to say to what."""
    refused = refusal(headers)
    assert (refused.status, refused.headers) == (426, UPGRADE)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(request(upgrade=b"web socket"), id="upgrade"),
        pytest.param(request(upgrade=b""), id="empty upgrade"),
        pytest.param(request(connection=b"@"), id="connection"),
        pytest.param([*request(), (b"sec-websocket-protocol", b"a b")], id="subprotocol"),
        pytest.param([*request(), (b"sec-websocket-protocol", b"")], id="empty subprotocol"),
        pytest.param([*request(), (b"sec-websocket-extensions", b"a; =")], id="extension"),
        pytest.param([*request(), (b"sec-websocket-extensions", b"\xff")], id="extension beyond ASCII"),
    ],
)
def test_field_that_cannot_be_parsed_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """4.2.1, 3., 4., 8. and 9.; the grammar is that of 9.1."""
    refused = refusal(headers)
    assert (refused.status, refused.headers) == (400, ())
    assert str(refused).endswith("cannot be parsed")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"dGhlIHNhbXBsZSBub25jZQ", id="without padding"),
        pytest.param(b"dGhlIHNhbXBsZSBub25j", id="15 bytes"),
        pytest.param(b"dGhlIHNhbXBsZSBub25jZSE=", id="17 bytes"),
        pytest.param(b"dGhlIHNhbXBsZSBub25jZ!==", id="not base64"),
        pytest.param(b"dGhl IHNhbXBsZSBub25jZQ==", id="with a space"),
        pytest.param(b"\xff" * 24, id="beyond ASCII"),
    ],
)
def test_key_has_to_be_16_bytes_in_base64(key: bytes) -> None:
    """4.2.1, 5."""
    refused = refusal(request(sec_websocket_key=key))
    assert (refused.status, str(refused)) == (400, "sec-websocket-key is not 16 bytes in base64")


@pytest.mark.parametrize("name", [b"sec-websocket-key", b"sec-websocket-version"])
def test_key_and_version_are_there_once(name: bytes) -> None:
    """11.3.1 and 11.3.5"""
    once = request()
    refused = refusal([field for field in once if field[0] != name])
    assert (refused.status, str(refused)) == (400, f"{name.decode()} is missing")
    refused = refusal([*once, (name, dict(once)[name])])
    assert (refused.status, str(refused)) == (400, f"{name.decode()} is given more than once")


@pytest.mark.parametrize("version", [b"", b"0", b"8", b"12", b"14", b"013", b"13, 8", b"x" * 500])
def test_other_versions_are_told_which_is_spoken_here(version: bytes) -> None:
    """4.2.1, 6. and 4.4"""
    refused = refusal(request(sec_websocket_version=version))
    assert (refused.status, refused.headers) == (426, VERSION)
    assert len(str(refused)) < 60
