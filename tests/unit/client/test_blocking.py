"""Publishing from code that is not async."""

import os
import threading

import pytest

from extra.client import blocking
from extra.client.blocking import Publisher, publish
from extra.errors import (
    BrokerClosed,
    InvalidCommand,
    InvalidPayload,
    InvalidTopic,
    LimitExceeded,
    PreconditionFailed,
    RemoteProtocolError,
)
from extra.pubsub import Receipt
from tests.fakes.http_broker import Answer, HTTPBroker, Request, problem, receipt


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with no connection kept, and closes those that it makes."""
    monkeypatch.setattr(blocking, "_local", threading.local())


def published(*args: object, **options: object) -> Request:
    """Return the request that publishing with these arguments makes."""
    with HTTPBroker(receipt(7)) as broker, Publisher(broker.url + "/x") as publisher:
        publisher.publish(*args, **options)  # type: ignore[arg-type]  # any arguments are the point
    (request,) = broker.requests
    return request


@pytest.mark.parametrize(
    ("data", "body", "content_type"),
    [
        ({"celsius": 21}, b'{"celsius":21}', "application/json"),
        ("grüße", "grüße".encode(), "text/plain"),
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (None, b"null", "application/json"),
    ],
)
def test_a_value_becomes_a_body_with_the_content_type_of_its_kind(
    data: object, body: bytes, content_type: str
) -> None:
    request = published("site/a b/temp", data)
    assert request.method == "POST"
    assert request.target.startswith("/x/t/site/a%20b/temp?key=")
    assert request.body == body
    assert request.headers["content-type"] == content_type


def test_the_receipt_comes_back() -> None:
    with HTTPBroker(receipt(7)) as broker, Publisher(broker.url) as publisher:
        assert publisher.publish("a", 1) == Receipt("a", 7, "e1-7", 3)


def test_options_go_where_the_protocol_has_them() -> None:
    """docs/protocol.md, "Publish"."""
    request = published(
        "a",
        "<p>",
        retain=True,
        ttl=60,
        key="k/1",
        content_type="text/html",
        headers={"Trace": "ä 1"},
        if_last=17,
    )
    assert request.method == "PUT"
    assert request.target == "/x/t/a?key=k%2F1&ttl=60"
    assert request.headers["content-type"] == "text/html"
    assert request.headers["extra-header-trace"] == "ä 1"
    assert request.headers["if-match"] == '"17"'


def test_a_publication_for_later_gets_its_id() -> None:
    body = b'{"topic":"a","scheduled":"x1","deliver_at":1900000000.5}'
    with HTTPBroker(Answer(202, body)) as broker, Publisher(broker.url) as publisher:
        receipt = publisher.publish("a", 1, deliver_at=1900000000.5)
    assert receipt == Receipt("a", 0, "", 0, "x1", 1900000000.5)
    assert broker.requests[0].headers["extra-deliver-at"] == "1900000000.5"


def test_a_condition_that_does_not_hold_tells_what_is_there() -> None:
    refusal = problem(412, "precondition_failed", "the last message", offset=9, cursor="e1-9")
    with HTTPBroker(refusal) as broker, Publisher(broker.url) as publisher:
        with pytest.raises(PreconditionFailed) as caught:
            publisher.publish("a", 1, if_last=7)
        assert (caught.value.offset, caught.value.cursor) == (9, "e1-9")


def test_each_publication_has_a_key_of_its_own() -> None:
    first, second = published("a", 1), published("a", 1)
    assert len(first.target) == len("/x/t/a?key=") + 32
    assert first.target != second.target


def test_a_publication_on_a_stale_connection_is_sent_again_with_the_same_key() -> None:
    answers = (receipt(1), Answer(raw=b"", hangs_up=True), receipt(2))
    with HTTPBroker(*answers) as broker, Publisher(broker.url) as publisher:
        publisher.publish("a", 1)
        assert publisher.publish("a", 2).offset == 2
    assert broker.requests[1].target == broker.requests[2].target


def test_an_error_of_the_broker_is_raised_as_such() -> None:
    """docs/protocol.md, "Errors"."""
    refusal = problem(413, "limit_exceeded", "payload over 10 bytes (broker.max_payload_bytes)")
    with HTTPBroker(refusal, receipt(1)) as broker, Publisher(broker.url) as publisher:
        with pytest.raises(LimitExceeded, match=r"broker\.max_payload_bytes"):
            publisher.publish("a", 1)
        assert publisher.publish("a", 1).offset == 1
    assert [request.connection for request in broker.requests] == [0, 0]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"7", b'{"topic":"a"}'])
def test_an_answer_without_a_receipt_is_no_brokers(body: bytes) -> None:
    with (
        HTTPBroker(Answer(201, body)) as broker,
        Publisher(broker.url) as publisher,
        pytest.raises(RemoteProtocolError, match="without a receipt"),
    ):
        publisher.publish("a", 1)


def test_bad_input_is_refused_before_anything_is_sent() -> None:
    with HTTPBroker() as broker, Publisher(broker.url) as publisher:
        with pytest.raises(InvalidTopic):
            publisher.publish("a/#", 1)
        with pytest.raises(InvalidPayload):
            publisher.publish("a", {1, 2})
        with pytest.raises(InvalidPayload):
            publisher.publish("a", b"{", content_type="application/json")
        with pytest.raises(InvalidCommand):
            publisher.publish("a", 1, key="\ud800")
    assert broker.connections == 0


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\r\nb"])
def test_a_header_that_http_has_no_name_for_is_refused(name: str) -> None:
    """RFC 9110 5.1."""
    with (
        Publisher("http://127.0.0.1:1") as publisher,
        pytest.raises(InvalidCommand, match="HTTP has no such"),
    ):
        publisher.publish("a", 1, headers={name: "x"})


@pytest.mark.parametrize("value", ["a\nb", "a\r\nHost: b", " a", "a ", "\0", "日本", "a\x7f"])
def test_a_header_that_http_would_change_is_refused(value: str) -> None:
    """RFC 9110 5.5."""
    with Publisher("http://127.0.0.1:1") as publisher:
        with pytest.raises(InvalidCommand, match="Extra-Header-x"):
            publisher.publish("a", 1, headers={"x": value})
        with pytest.raises(InvalidCommand, match=r"Content-Type|content_type"):
            publisher.publish("a", b"1", content_type=value)


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="url"):
        publish("127.0.0.1:8080", "a", 1)


def test_the_function_keeps_a_connection_for_each_broker() -> None:
    with HTTPBroker(receipt(1), receipt(2)) as first, HTTPBroker(receipt(3)) as second:
        assert publish(first.url, "a", 1).offset == 1
        assert publish(second.url, "a", 1).offset == 3
        assert publish(first.url, "a", 1, timeout_s=1.0).offset == 2
    assert (first.connections, second.connections) == (1, 1)


def test_only_so_many_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "KEPT_LIMIT", 1)
    with HTTPBroker(receipt(1), receipt(2)) as first, HTTPBroker(receipt(3)) as second:
        publish(first.url, "a", 1)
        publish(second.url, "a", 1)
        publish(first.url, "a", 1)
    assert (first.connections, second.connections) == (2, 1)


def test_each_thread_has_connections_of_its_own_and_closes_them_at_its_end() -> None:
    """That none stays open, the garbage collector would tell with a ResourceWarning."""
    with HTTPBroker(receipt(1), receipt(2)) as broker:
        publish(broker.url, "a", 1)
        thread = threading.Thread(target=publish, args=(broker.url, "a", 1))
        thread.start()
        thread.join()
    assert broker.connections == 2


def test_a_forked_process_does_not_write_to_the_connections_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with HTTPBroker(receipt(1), receipt(2)) as broker:
        publish(broker.url, "a", 1)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        publish(broker.url, "a", 1)
    assert broker.connections == 2


def test_a_broker_that_is_gone_is_told() -> None:
    with HTTPBroker() as broker:
        url = broker.url
    with pytest.raises(BrokerClosed, match="no broker at"):
        publish(url, "a", 1)
