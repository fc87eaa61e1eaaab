"""Addresses: what a URL gives for HTTP and for WebSocket."""

import pytest

from extra.client.address import Address
from extra.errors import InvalidCommand, InvalidTopic


@pytest.mark.parametrize(
    ("url", "http_url", "websocket_url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
        ("http://host", "http://host", "ws://host/ws"),
        ("http://host:80/", "http://host", "ws://host/ws"),
        ("https://host/realtime", "https://host/realtime", "wss://host/realtime/ws"),
        ("https://host:8443/a/b/", "https://host:8443/a/b", "wss://host:8443/a/b/ws"),
        ("ws://host:81", "http://host:81", "ws://host:81/ws"),
        ("wss://host", "https://host", "wss://host/ws"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x", "ws://[::1]:8080/x/ws"),
    ],
)
def test_a_url_gives_those_for_http_and_websocket(url: str, http_url: str, websocket_url: str) -> None:
    address = Address.parse(url)
    assert (address.url, address.websocket_url) == (http_url, websocket_url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:8080",
        "ftp://host",
        "http://",
        "http:///path",
        "http://h/?a=1",
        "http://h/#a",
        "http://h:x",
    ],
)
def test_what_is_no_url_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"url|[Pp]ort"):
        Address.parse(url)


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(ValueError, match="Authorization header") as caught:
        Address.parse("http://me:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("topic", "target"),
    [
        ("a/b", "/x/t/a/b"),
        ("/a//b", "/x/t//a//b"),
        ("räume/1 2", "/x/t/r%C3%A4ume/1%202"),
        ("a/*?&%", "/x/t/a/%2A%3F%26%25"),
    ],
)
def test_a_topic_is_percent_encoded_into_a_path(topic: str, target: str) -> None:
    """docs/protocol.md, "Words": the rest of the path, percent-encoded UTF-8."""
    assert Address.parse("http://host/x").topic_target(topic) == target


def test_a_filter_is_no_topic() -> None:
    with pytest.raises(InvalidTopic):
        Address.parse("http://host").topic_target("a/+")


def test_a_query_is_percent_encoded_without_plus_for_blanks() -> None:
    """docs/protocol.md, "Words": in a query string a `+` stays a `+`."""
    target = Address.parse("http://host/x").target("/poll", [("topic", "a/+/#"), ("since", "last:1 2")])
    assert target == "/x/poll?topic=a%2F%2B%2F%23&since=last%3A1%202"


def test_a_target_without_parameters_has_no_query() -> None:
    assert Address.parse("http://host").target("/poll", []) == "/poll"


def test_a_lone_surrogate_in_a_parameter_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="UTF-8"):
        Address.parse("http://host").target("/poll", [("key", "\ud800")])
