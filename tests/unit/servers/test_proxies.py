"""Whom a server believes about where requests come from."""

import pytest

from extra.http import Request
from extra.servers import TrustedProxies


def corrected(trusted: str, client: str, **fields: str) -> tuple[str, str]:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    request = Request("GET", b"/", headers, client=client)
    TrustedProxies(trusted).correct(request)
    return request.client, request.scheme


@pytest.mark.parametrize(
    ("trusted", "client", "passed", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:5", "192.0.2.7", "192.0.2.7:0"),
        ("127.0.0.1", "127.0.0.2:5", "192.0.2.7", "127.0.0.2:5"),
        ("::1, 10.0.0.0/8", "[::1]:5", "6.6.6.6, 2001:db8::1, 10.9.9.9", "[2001:db8::1]:0"),
        ("10.0.0.0/8", "10.0.0.1:5", "10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
        ("10.0.0.0/8", "10.0.0.1:5", "192.0.2.7:4711", "192.0.2.7:0"),
        ("10.0.0.0/8", "10.0.0.1:5", "[2001:db8::1]:4711", "[2001:db8::1]:0"),
        ("10.0.0.0/8", "10.0.0.1:5", "unknown, <b>", "10.0.0.1:5"),
        ("10.0.0.0/8", "10.0.0.1:5", "", "10.0.0.1:5"),
        ("*", "", "192.0.2.7", "192.0.2.7:0"),
        ("10.0.0.1", "", "192.0.2.7", ""),
    ],
)
def test_client_is_the_last_that_no_trusted_proxy_is(
    trusted: str, client: str, passed: str, expected: str
) -> None:
    assert corrected(trusted, client, x_forwarded_for=passed)[0] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("https", "https"), ("wss", "https"), ("WS", "http"), ("http, https", "https"), ("gopher", "http")],
)
def test_scheme_is_what_the_nearest_proxy_says(said: str, expected: str) -> None:
    assert corrected("127.0.0.1", "127.0.0.1:5", x_forwarded_proto=said)[1] == expected
    assert corrected("", "127.0.0.1:5", x_forwarded_proto=said)[1] == "http"


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="everybody"):
        TrustedProxies("127.0.0.1, everybody")
