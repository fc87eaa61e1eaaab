"""Publishing over HTTP: one message as a body, and many in one request."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import msgpack
import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.publishing import Publisher
from broker.endpoints.reasons import Unsupported
from broker.settings import BrokerSettings, Settings
from extra.errors import (
    ExtraError,
    InvalidCommand,
    InvalidPayload,
    InvalidTopic,
    LimitExceeded,
    PreconditionFailed,
)
from extra.http import Body, BodySource, Request
from extra.pubsub import BrokerLimits, Message
from tests.fakes.clock import FakeClock
from tests.unit.broker.endpoints.driving import body_of, fields_of, headers_of, make_request, running_hub


class Nobody(BodySource):
    """Where the body of a test comes from."""

    def body_wanted(self) -> None:
        """The test feeds it."""


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        yield hub


async def logged(hub: Hub) -> list[Message]:
    return (await hub.broker.history("#")).messages


async def test_the_answer_is_the_receipt(hub: Hub) -> None:
    response = await Publisher(hub).publish(make_request("POST", "/t/a/b", body=b"{}"))
    assert response.status == 201
    assert response.content_type == "application/json"
    assert fields_of(response) == {"topic": "a/b", "offset": 1, "cursor": "e1-1", "subscribers": 0}
    assert headers_of(response) == {"extra-cursor": "e1-1", "etag": '"1"'}


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "kept"),
    [
        (None, b"{}", "json", None),
        (None, b"x", "text", None),
        (None, b"\xff", "binary", None),
        ("application/x-www-form-urlencoded", b"[1]", "json", None),
        ("text/plain", b"[1]", "text", "text/plain"),
        ("application/geo+json", b"{}", "json", "application/geo+json"),
        ("image/png", b"{}", "binary", "image/png"),
    ],
)
async def test_the_content_type_travels_with_the_message(
    hub: Hub, content_type: str | None, body: bytes, kind: str, kept: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    await Publisher(hub).publish(make_request("POST", "/t/a", headers, body))
    [message] = await logged(hub)
    assert (message.payload, message.kind, message.content_type) == (body, kind, kept)


async def test_what_is_not_of_its_type_is_not_published(hub: Hub) -> None:
    for content_type, body in (("application/json", b"{"), ("text/plain", b"\xff")):
        with pytest.raises(InvalidPayload):
            await Publisher(hub).publish(make_request("POST", "/t/a", {"Content-Type": content_type}, body))
    assert await logged(hub) == []


@pytest.mark.parametrize(
    ("method", "target", "retained"),
    [
        ("publish", "/t/a", False),
        ("publish", "/t/a?retain=1", True),
        ("publish", "/t/a?retain=0", False),
        ("retain", "/t/a", True),
        ("retain", "/t/a?retain=1", True),
    ],
)
async def test_put_and_retain_retain(hub: Hub, method: str, target: str, retained: bool) -> None:
    await getattr(Publisher(hub), method)(make_request("POST", target, body=b"x"))
    [message] = await logged(hub)
    assert message.retained is retained
    assert hub.broker.figures()["retained_messages"] == int(retained)


async def test_delete_clears_what_is_retained_also_when_nothing_is(hub: Hub) -> None:
    publisher = Publisher(hub)
    await publisher.retain(make_request("PUT", "/t/a", body=b"x"))
    for _ in range(2):
        response = await publisher.clear(make_request("DELETE", "/t/a"))
        assert (response.status, response.body) == (204, b"")
        assert hub.broker.figures()["retained_messages"] == 0
    assert len(await logged(hub)) == 1


@pytest.mark.parametrize(
    "request_of", [("?ttl=60", {}), ("", {"Extra-TTL": "60"}), ("?ttl=60", {"Extra-TTL": "1"})]
)
async def test_a_time_to_live_becomes_a_time(hub: Hub, request_of: tuple[str, dict[str, str]]) -> None:
    query, headers = request_of
    await Publisher(hub).publish(make_request("POST", f"/t/a{query}", headers, b"x"))
    [message] = await logged(hub)
    assert message.expires_at == hub.broker.clock.time() + 60


@pytest.mark.parametrize("ttl", ["0", "-1", "nan", "soon", "1e10"])
async def test_a_bad_time_to_live_is_refused(hub: Hub, ttl: str) -> None:
    with pytest.raises(InvalidCommand, match="ttl"):
        await Publisher(hub).publish(make_request("POST", f"/t/a?ttl={ttl}", body=b"x"))


@pytest.mark.parametrize(("query", "headers"), [("?key=k", {}), ("", {"Idempotency-Key": "k"})])
async def test_a_key_publishes_once(hub: Hub, query: str, headers: dict[str, str]) -> None:
    publisher = Publisher(hub)
    receipts = [
        body_of(await publisher.publish(make_request("POST", f"/t/a{query}", headers, b"%d" % number)))
        for number in range(2)
    ]
    assert receipts[0] == receipts[1]
    assert [message.payload for message in await logged(hub)] == [b"0"]
    await publisher.publish(make_request("POST", f"/t/b{query}", headers, b"x"))
    assert len(await logged(hub)) == 2


@pytest.mark.parametrize(
    ("query", "headers"), [("?key=", {}), ("", {"Idempotency-Key": ""}), (f"?key={'k' * 256}", {})]
)
async def test_a_key_is_neither_empty_nor_too_long(hub: Hub, query: str, headers: dict[str, str]) -> None:
    """As on a WebSocket."""
    with pytest.raises(InvalidCommand, match="an idempotency key has 1 to 255 bytes"):
        await Publisher(hub).publish(make_request("POST", f"/t/a{query}", headers, b"x"))


@pytest.mark.parametrize("content_type", [b"\xff\xfe", b"text/plain; x=" + b"x" * 255, b"a/\tb"])
async def test_a_content_type_is_printable_and_not_long(hub: Hub, content_type: bytes) -> None:
    request = Request("POST", b"/t/a", [(b"content-type", content_type)], body=b"x")
    request.params = {"topic": "a"}
    with pytest.raises(InvalidCommand, match="content_type: "):
        await Publisher(hub).publish(request)
    assert await logged(hub) == []


@pytest.mark.parametrize(
    "headers",
    [{"Extra-Header-A": "x" * 8192}, {f"Extra-Header-{number}": "x" for number in range(65)}],
    ids=["long", "many"],
)
async def test_headers_of_the_message_are_bounded(hub: Hub, headers: dict[str, str]) -> None:
    with pytest.raises(LimitExceeded, match="headers: "):
        await Publisher(hub).publish(make_request("POST", "/t/a", headers, b"x"))


async def test_headers_of_the_message_are_those_with_the_prefix(hub: Hub) -> None:
    headers = {"Extra-Header-Trace-ID": "7", "Extra-Header-": "none", "Extra-TTL": "9", "X-Other": "z"}
    await Publisher(hub).publish(make_request("POST", "/t/a", headers, b"x"))
    await Publisher(hub).publish(make_request("POST", "/t/a", {"X-Other": "z"}, b"x"))
    assert [message.headers for message in await logged(hub)] == [{"trace-id": "7"}, None]


@pytest.mark.parametrize("topic", ["a/+", "a/%23", "a/*", "**", "", "$broker/a", "a%00", "/".join("x" * 129)])
async def test_what_is_no_topic_is_refused(hub: Hub, topic: str) -> None:
    """In a URL `*` is read as `+` and `**` as `#`, also where a wildcard cannot be meant."""
    publisher = Publisher(hub)
    for handler in (publisher.publish, publisher.retain):
        with pytest.raises(InvalidTopic):
            await handler(make_request("POST", f"/t/{topic}", body=b"x"))
    assert await logged(hub) == []


@pytest.mark.parametrize("topic", ["a/+", "a/*", ""])
async def test_only_what_a_topic_retains_can_be_cleared(hub: Hub, topic: str) -> None:
    with pytest.raises(InvalidTopic):
        await Publisher(hub).clear(make_request("DELETE", f"/t/{topic}"))


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread(hub: Hub, encoding: str) -> None:
    publisher = Publisher(hub)
    for handler, target in ((publisher.publish, "/t/a"), (publisher.publish_many, "/publish")):
        with pytest.raises(Unsupported, match="bodies are taken as they are"):
            await handler(make_request("POST", target, {"Content-Encoding": encoding}, b"x"))


async def test_a_payload_that_is_too_large_is_refused_by_the_name_of_its_limit() -> None:
    async with running_hub(limits=BrokerLimits(max_payload_bytes=10)) as hub:
        with pytest.raises(LimitExceeded, match=r"broker\.max_payload_bytes=10"):
            await Publisher(hub).publish(make_request("POST", "/t/a", body=b"x" * 11))
        assert (await Publisher(hub).publish(make_request("POST", "/t/a", body=b"x" * 10))).status == 201


# Many in one request

BATCH = [{"topic": "a", "data": {"n": 1}}, {"topic": "b", "data_base64": "/w==", "retain": True}]
BODIES = {
    "application/json": json.dumps(BATCH).encode(),
    "application/json; charset=utf-8": json.dumps(BATCH).encode(),
    "application/x-ndjson": b"\n\n".join(json.dumps(each).encode() for each in BATCH),
    "application/jsonl": b"\n".join(json.dumps(each).encode() for each in BATCH),
    "application/msgpack": msgpack.packb([BATCH[0], {"topic": "b", "data": b"\xff", "retain": True}]),
    "application/x-msgpack": msgpack.packb(BATCH),
}


@pytest.mark.parametrize("content_type", BODIES)
async def test_a_batch_is_published_in_order(hub: Hub, content_type: str) -> None:
    request = make_request("POST", "/publish", {"Content-Type": content_type}, BODIES[content_type])
    response = await Publisher(hub).publish_many(request)
    assert response.status == 201
    assert json.loads(body_of(response)) == [
        {"topic": "a", "offset": 1, "cursor": "e1-1", "subscribers": 0},
        {"topic": "b", "offset": 2, "cursor": "e1-2", "subscribers": 0},
    ]
    first, second = await logged(hub)
    assert (first.payload.replace(b" ", b""), first.kind, first.retained) == (b'{"n":1}', "json", False)
    assert (second.payload, second.kind, second.retained) == (b"\xff", "binary", True)


async def test_json_is_what_a_batch_is_without_a_type(hub: Hub) -> None:
    assert (await Publisher(hub).publish_many(make_request("POST", "/publish", body=b"[]"))).status == 201


async def test_what_is_wrong_with_one_harms_no_other(hub: Hub) -> None:
    batch = [
        {"topic": "a", "data": 1},
        {"topic": "a/#", "data": 2},
        {"data": 3},
        {"topic": "$sys", "data": 4},
        {"topic": "b", "data": 5},
    ]
    request = make_request("POST", "/publish", body=json.dumps(batch).encode())
    response = await Publisher(hub).publish_many(request)
    assert response.status == 207
    answers = json.loads(body_of(response))
    assert [answer.get("error", {}).get("code", answer.get("offset")) for answer in answers] == [
        1,
        "invalid_topic",
        "invalid_command",
        "invalid_topic",
        2,
    ]
    assert [message.payload for message in await logged(hub)] == [b"1", b"5"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b'[{"topic":"a","data":1}]'),
        ("application/x-www-form-urlencoded", b'{"topic":"a","data":1}'),
        ("application/json", b'{"topic":"a","data":1}'),
        ("application/msgpack", msgpack.packb({"topic": "a", "data": 1})),
    ],
)
async def test_a_batch_is_taken_as_curl_sends_it_and_may_be_one_object(
    hub: Hub, content_type: str, body: bytes
) -> None:
    response = await Publisher(hub).publish_many(
        make_request("POST", "/publish", {"Content-Type": content_type}, body)
    )
    assert response.status == 201
    assert [answer["offset"] for answer in json.loads(body_of(response))] == [1]


async def test_put_that_shall_not_retain_is_refused(hub: Hub) -> None:
    with pytest.raises(InvalidCommand, match="'retain' is 0, and PUT retains"):
        await Publisher(hub).retain(make_request("PUT", "/t/a?retain=0", body=b"x"))


async def test_a_key_counts_in_a_batch(hub: Hub) -> None:
    batch = [{"topic": "a", "data": number, "key": "k"} for number in range(2)]
    request = make_request("POST", "/publish", body=json.dumps(batch).encode())
    answers = json.loads(body_of(await Publisher(hub).publish_many(request)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"topic":"a","data":1}'),
        ("application/json", b'{"topic":"a","data":1'),
        ("application/json", b"1"),
        ("application/json", b'[{"topic":"\xff","data":1}]'),
        ("application/x-ndjson", b'{"topic":"a","data":1}\nnot JSON\n'),
        ("application/msgpack", b"\x93\x01"),
        ("application/msgpack", b""),
        ("application/msgpack", b"\x01"),
    ],
)
async def test_a_batch_that_cannot_be_parsed_publishes_nothing(
    hub: Hub, content_type: str, body: bytes
) -> None:
    with pytest.raises(InvalidCommand):
        await Publisher(hub).publish_many(
            make_request("POST", "/publish", {"Content-Type": content_type}, body)
        )
    assert await logged(hub) == []


async def test_an_unknown_type_of_batch_is_refused(hub: Hub) -> None:
    request = make_request("POST", "/publish", {"Content-Type": "text/csv"}, b"a,1")
    with pytest.raises(Unsupported, match=r"'text/csv'.*application/x-ndjson"):
        await Publisher(hub).publish_many(request)


async def test_batches_are_bounded_in_number_and_in_bytes() -> None:
    bear = replace(BrokerSettings(), batch_limit_messages=2, max_payload_bytes=10)
    async with running_hub(Settings(broker=bear)) as hub:
        publisher = Publisher(hub)
        for body, name in (
            (b"[1,2,3]", "broker.batch_limit_messages"),
            (b" " * 81, "broker.max_payload_bytes"),
        ):
            with pytest.raises(ExtraError, match=name) as refused:
                await publisher.publish_many(make_request("POST", "/publish", body=body))
            assert refused.value.code == "limit_exceeded"


async def test_what_needs_no_waiting_is_published_at_once(hub: Hub) -> None:
    headers = {"Content-Type": "text/plain", "Extra-Header-Unit": "C", "Extra-TTL": "9"}
    response = Publisher(hub).publish_at_once(make_request("POST", "/t/a?retain=1", headers, b"17"))
    assert response is not None
    assert response.status == 201
    assert fields_of(response) == {"topic": "a", "offset": 1, "cursor": "e1-1", "subscribers": 0}
    [message] = await logged(hub)
    assert (message.payload, message.kind, message.headers, message.retained) == (
        b"17",
        "text",
        {"unit": "C"},
        True,
    )
    assert message.expires_at == hub.broker.clock.time() + 9
    for bad in ("/t/%23", "/t/a?ttl=x", "/t/a?retain=2"):
        with pytest.raises(ExtraError):
            Publisher(hub).publish_at_once(make_request("POST", bad, body=b"1"))
    with pytest.raises(Unsupported):
        Publisher(hub).publish_at_once(make_request("POST", "/t/a", {"Content-Encoding": "gzip"}, b"1"))


async def test_what_has_to_wait_is_not_touched_before(hub: Hub) -> None:
    publisher = Publisher(hub)
    keyed = make_request("POST", "/t/a?key=k", body=b"1")
    assert publisher.publish_at_once(keyed) is None
    body = Body(Nobody())
    coming = Request("POST", b"/t/a", body=body)
    coming.params = {"topic": "a"}
    assert publisher.publish_at_once(coming) is None
    body.feed(b"2")
    body.end()
    hub.broker.pace.spent = hub.broker.pace.limit_bytes
    assert publisher.publish_at_once(coming) is None
    assert await logged(hub) == []
    for request in (keyed, coming):
        assert (await publisher.publish(request)).status == 201
    assert [message.payload for message in await logged(hub)] == [b"1", b"2"]


# Conditions


@pytest.mark.parametrize(
    "headers", [{"If-Match": '"1"'}, {"If-Match": " 1 "}, {"if-match": "1"}], ids=["quoted", "bare", "lower"]
)
async def test_a_condition_is_an_entity_tag(hub: Hub, headers: dict[str, str]) -> None:
    publisher = Publisher(hub)
    await publisher.publish(make_request("POST", "/t/a", {"If-None-Match": "*"}, b"1"))
    response = await publisher.publish(make_request("POST", "/t/a", headers, b"2"))
    assert (response.status, headers_of(response)["etag"]) == (201, '"2"')
    with pytest.raises(PreconditionFailed) as caught:
        await publisher.retain(make_request("PUT", "/t/a", headers, b"3"))
    refused = hub.tally.answer(caught.value)
    assert refused.status == 412
    assert headers_of(refused) == {"etag": '"2"', "extra-cursor": "e1-2"}
    told = fields_of(refused)
    assert (told["code"], told["offset"], told["cursor"]) == ("precondition_failed", 2, "e1-2")


@pytest.mark.parametrize("headers", [{"If-None-Match": "*"}, {"If-Match": "0"}, {"If-Match": '"0"'}])
async def test_a_topic_without_messages_has_two_names(hub: Hub, headers: dict[str, str]) -> None:
    publisher = Publisher(hub)
    assert (await publisher.publish(make_request("POST", "/t/a", headers, b"1"))).status == 201
    with pytest.raises(PreconditionFailed):
        await publisher.publish(make_request("POST", "/t/a", headers, b"1"))


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "*"},
        {"If-Match": '"1'},
        {"If-Match": 'W/"1"'},
        {"If-Match": '"1", "2"'},
        {"If-Match": "-1"},
        {"If-Match": "9" * 19},
        {"If-Match": ""},
        {"If-None-Match": "1"},
        {"If-None-Match": "*", "If-Match": "0"},
    ],
)
async def test_what_is_no_condition_is_refused_and_publishes_nothing(
    hub: Hub, headers: dict[str, str]
) -> None:
    with pytest.raises(InvalidCommand, match="header 'If-"):
        await Publisher(hub).publish(make_request("POST", "/t/a", headers, b"1"))
    assert await logged(hub) == []


async def test_clearing_takes_no_condition(hub: Hub) -> None:
    with pytest.raises(InvalidCommand):
        await Publisher(hub).clear(make_request("DELETE", "/t/a", {"If-Match": "1"}))


async def test_in_a_batch_each_has_its_condition(hub: Hub) -> None:
    body = json.dumps([{"topic": "a", "data": 1, "if_last": if_last} for if_last in (0, 0, 1)])
    response = await Publisher(hub).publish_many(make_request("POST", "/publish", body=body.encode()))
    assert response.status == 207
    first, second, third = json.loads(body_of(response))
    assert (first["offset"], third["offset"]) == (1, 2)
    assert second["error"] | {"message": ""} == {
        "code": "precondition_failed",
        "message": "",
        "offset": 1,
        "cursor": "e1-1",
    }


# Later


@pytest.mark.parametrize("header", ["Extra-Deliver-At", "Extra-Deliver-After"])
async def test_what_is_for_later_is_accepted_with_an_id(hub: Hub, header: str) -> None:
    now = hub.broker.clock.time()
    value = str(now + 5) if header == "Extra-Deliver-At" else "5"
    response = await Publisher(hub).retain(
        make_request("PUT", "/t/a", {header: value, "Extra-TTL": "9"}, b"1")
    )
    assert response.status == 202
    told = fields_of(response)
    assert (told["topic"], told["deliver_at"]) == ("a", now + 5)
    assert headers_of(response) == {"location": f"/scheduled/{told['scheduled']}"}
    assert await logged(hub) == []
    assert isinstance(hub.broker.clock, FakeClock)
    hub.broker.clock.advance(5.0)
    hub.tick()
    [message] = await logged(hub)
    assert (message.data, message.retained, message.expires_at) == (1, True, now + 14)


async def test_what_is_for_now_after_all_is_published(hub: Hub) -> None:
    response = await Publisher(hub).publish(make_request("POST", "/t/a", {"Extra-Deliver-At": "1"}, b"1"))
    assert (response.status, fields_of(response)["offset"]) == (201, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Extra-Deliver-At": "x"},
        {"Extra-Deliver-At": "-1"},
        {"Extra-Deliver-At": "1e99"},
        {"Extra-Deliver-After": "-1"},
        {"Extra-Deliver-After": "9999999999"},
        {"Extra-Deliver-At": "1", "Extra-Deliver-After": "1"},
        {"Extra-Deliver-At": "9999999999", "If-Match": "0"},
    ],
)
async def test_what_is_no_time_is_refused(hub: Hub, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidCommand):
        await Publisher(hub).publish(make_request("POST", "/t/a", headers, b"1"))
    assert hub.broker.figures()["scheduled_messages"] == 0
    assert await logged(hub) == []


async def test_in_a_batch_some_are_for_later(hub: Hub) -> None:
    at = hub.broker.clock.time() + 5
    body = json.dumps(
        [
            {"topic": "a", "data": 1, "deliver_at": at},
            {"topic": "a", "data": 2},
            {"topic": "a", "data": 3, "deliver_at": at, "if_last": 0},
        ]
    )
    response = await Publisher(hub).publish_many(make_request("POST", "/publish", body=body.encode()))
    first, second, third = json.loads(body_of(response))
    assert (first["topic"], first["deliver_at"], second["offset"]) == ("a", at, 1)
    assert third["error"]["code"] == "invalid_command"
