"""Requests over HTTP: kept connections, stale ones, and what goes wrong."""

import socket

import pytest

from extra.client import caller as caller_module
from extra.client.address import Address
from extra.client.caller import Caller
from extra.errors import BrokerClosed, InvalidCursor, LimitExceeded, RemoteProtocolError
from tests.fakes.http_broker import Answer, HTTPBroker, problem


def caller_of(url: str, timeout_s: float = 5.0, **headers: str) -> Caller:
    return Caller(Address.parse(url), timeout_s=timeout_s, headers=headers)


def test_a_request_goes_out_and_its_answer_comes_back() -> None:
    with (
        HTTPBroker(Answer(200, b"yes", {"Extra-Cursor": "e1-7"})) as broker,
        caller_of(broker.url, Authorization="Bearer x") as caller,
    ):
        answer = caller.call("POST", "/t/a?ttl=1", b"body", {"Content-Type": "text/plain"})
    assert (answer.status, answer.body, answer.headers["extra-cursor"]) == (200, b"yes", "e1-7")
    (request,) = broker.requests
    assert (request.method, request.target, request.body) == ("POST", "/t/a?ttl=1", b"body")
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["content-type"] == "text/plain"


def test_the_connection_is_kept_for_the_next_request() -> None:
    with HTTPBroker(Answer(), Answer()) as broker, caller_of(broker.url) as caller:
        caller.call("GET", "/a")
        caller.call("GET", "/b")
    assert [request.connection for request in broker.requests] == [0, 0]


def test_a_request_on_a_stale_connection_is_sent_once_more() -> None:
    """RFC 9112 9.5: a kept connection may be closed at any time."""
    with HTTPBroker(Answer(hangs_up=True), Answer(204)) as broker, caller_of(broker.url) as caller:
        caller.call("GET", "/a")
        assert caller.call("GET", "/b").status == 204
    assert [(request.target, request.connection) for request in broker.requests] == [("/a", 0), ("/b", 1)]


def test_a_request_on_a_new_connection_is_not_sent_again() -> None:
    with HTTPBroker(Answer(raw=b"", hangs_up=True), Answer()) as broker, caller_of(broker.url) as caller:
        with pytest.raises(BrokerClosed, match=r"no broker at http://127\.0\.0\.1"):
            caller.call("GET", "/a")
        assert len(broker.requests) == 1
        assert caller.call("GET", "/b").status == 200  # and the caller is as good as new


def test_nobody_there_is_told_with_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with caller_of(f"http://127.0.0.1:{port}/x") as caller, pytest.raises(BrokerClosed) as caught:
        caller.call("GET", "/a")
    assert f"no broker at http://127.0.0.1:{port}/x: " in str(caught.value)


def test_silence_ends_with_a_timeout_and_leaves_nothing_behind() -> None:
    """An answer that comes too late is not taken for the next one's."""
    with HTTPBroker() as broker, caller_of(broker.url) as caller:
        with pytest.raises(TimeoutError, match=r"no answer from http://127.0.0.1:\d+ within 0.01 s"):
            caller.call("GET", "/a", timeout_s=0.01)
        broker.answers.append(Answer(200, b"second"))
        assert caller.call("GET", "/b").body == b"second"
    assert broker.requests[-1].connection == 1


def test_https_begins_with_a_handshake() -> None:
    """RFC 8446 5.1: a record that begins with 22."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with caller_of(url, timeout_s=0.01) as caller, pytest.raises(TimeoutError, match=url):
            caller.call("GET", "/a")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b"\x16"


def test_the_timeout_of_a_call_is_for_that_call_alone() -> None:
    with HTTPBroker(Answer()) as broker, caller_of(broker.url, timeout_s=0.01) as caller:
        caller.call("GET", "/a", timeout_s=5.0)
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            caller.call("GET", "/b")


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-hello\r\n", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a:" * 40000]
)
def test_what_is_not_http_is_a_protocol_error(raw: bytes) -> None:
    with (
        HTTPBroker(Answer(raw=raw, hangs_up=True)) as broker,
        caller_of(broker.url) as caller,
        pytest.raises(RemoteProtocolError, match=r"does not answer in HTTP/1\.1"),
    ):
        caller.call("GET", "/a")


def test_a_body_that_is_cut_short_is_a_protocol_error() -> None:
    cut = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", hangs_up=True)
    with (
        HTTPBroker(cut) as broker,
        caller_of(broker.url) as caller,
        pytest.raises(RemoteProtocolError, match="IncompleteRead"),
    ):
        caller.call("GET", "/a")


def test_an_answer_beyond_all_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_module, "ANSWER_LIMIT_BYTES", 3)
    with HTTPBroker(Answer(200, b"123"), Answer(200, b"1234")) as broker, caller_of(broker.url) as caller:
        assert caller.call("GET", "/a").body == b"123"
        with pytest.raises(LimitExceeded, match="over 3 bytes"):
            caller.call("GET", "/b")


def test_an_answer_can_stand_for_an_error() -> None:
    with (
        HTTPBroker(problem(400, "invalid_cursor", "not a cursor")) as broker,
        caller_of(broker.url) as caller,
    ):
        error = caller.call("GET", "/a").error()
    assert isinstance(error, InvalidCursor)
    assert str(error) == "not a cursor"
