import json
import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from extra.errors import InvalidCommand, LimitExceeded
from extra.payloads import MAX_HEADERS, MAX_HEADERS_BYTES
from extra.protocols.commands import Ack, Command, Ping, Publish, Rejected, Subscribe, Unsubscribe
from extra.protocols.decoding import (
    decode_commands_json,
    decode_commands_msgpack,
    decode_publishes_json,
    decode_publishes_lines,
    decode_publishes_msgpack,
)

Fields = dict[str, Any]  # what a client may send: anything
Decode = Callable[[Any], list[Command | Rejected]]


def by_json(frame: object) -> list[Command | Rejected]:
    return decode_commands_json(json.dumps(frame).encode())


def by_msgpack(frame: object) -> list[Command | Rejected]:
    packed = msgpack.packb(frame)
    assert isinstance(packed, bytes)
    return decode_commands_msgpack(packed)


both = pytest.mark.parametrize("decode", [by_json, by_msgpack], ids=["json", "msgpack"])


@both
@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"op": "subscribe", "filter": "a/#"}, Subscribe("a/#")),
        (
            {
                "op": "subscribe",
                "id": "s1",
                "filter": ["a", "b"],
                "since": "start",
                "overflow": "drop-oldest",
                "retained": False,
                "replay": "all",
            },
            Subscribe(["a", "b"], "s1", "start", "drop-oldest", False, "all"),
        ),
        ({"op": "unsubscribe", "filter": ["a"], "id": 2}, Unsubscribe(["a"], 2)),
        ({"op": "publish", "topic": "a", "data": 1}, Publish("a", b"1")),
        ({"op": "publish", "topic": "a", "data": None}, Publish("a", b"null")),
        (
            {
                "op": "publish",
                "id": -1,
                "topic": "a",
                "data": [],
                "retain": True,
                "ttl": 60,
                "key": "k",
                "content_type": "application/ld+json",
                "headers": {"n": "v"},
            },
            Publish("a", b"[]", "json", -1, True, 60.0, "k", "application/ld+json", {"n": "v"}),
        ),
        ({"op": "ack", "offset": 0}, Ack(0)),
        ({"op": "ack", "offset": 2**63 - 1, "id": ""}, Ack(2**63 - 1, "")),
        ({"op": "ping", "id": "x" * 64}, Ping("x" * 64)),
        ({"op": "ping", "id": None, "unknown": {"a": [1]}, "Op": 1}, Ping()),
        (
            {
                "op": "subscribe",
                "filter": "a",
                "since": None,
                "overflow": None,
                "retained": None,
                "replay": None,
            },
            Subscribe("a"),
        ),
        (
            {
                "op": "publish",
                "topic": "a",
                "data": 1,
                "data_base64": None,
                "retain": None,
                "ttl": None,
                "key": None,
            },
            Publish("a", b"1"),
        ),
    ],
)
def test_command_is_read(decode: Decode, fields: Fields, command: Command) -> None:
    """docs/protocol.md, commands. A field that is null counts as left out, an unknown one is ignored."""
    assert decode(fields) == [command]


def test_filters_are_a_list_even_if_there_is_one() -> None:
    assert Subscribe("a").filters == ["a"]
    assert Subscribe(["a", "b"]).filters == ["a", "b"]
    assert Unsubscribe("a").filters == ["a"]
    assert Unsubscribe(["a", "b"]).filters == ["a", "b"]


@both
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "object missing required field op"),
        ({"op": "publsh"}, "unknown op 'publsh'"),
        ({"op": "x" * 500}, f"unknown op '{'x' * 77}...'"),
        ({"op": "\x00"}, r"unknown op '\x00'"),
        ({"op": 1}, "op: not a string"),
        ({"op": None}, "op: not a string"),
        ({"op": "subscribe"}, "subscribe: object missing required field filter"),
        ({"op": "subscribe", "filter": []}, "subscribe: filter: expected array of length >= 1"),
        ({"op": "subscribe", "filter": ["a", 1]}, "subscribe: filter[1]: expected str, got int"),
        ({"op": "subscribe", "filter": True}, "subscribe: filter: expected str | array, got bool"),
        ({"op": "subscribe", "filter": "a", "since": 5}, "subscribe: since: expected str | null, got int"),
        (
            {"op": "subscribe", "filter": "a", "overflow": "x" * 500},
            "subscribe: overflow: not one of disconnect, drop-oldest, latest",
        ),
        ({"op": "subscribe", "filter": "a", "replay": 1}, "subscribe: replay: not one of missing, all"),
        (
            {"op": "subscribe", "filter": "a", "retained": 1},
            "subscribe: retained: expected bool | null, got int",
        ),
        ({"op": "unsubscribe", "filter": 1}, "unsubscribe: filter: expected str | array | null, got int"),
        ({"op": "publish", "data": 1}, "publish: object missing required field topic"),
        ({"op": "publish", "topic": 1, "data": 1}, "publish: topic: expected str, got int"),
        ({"op": "publish", "topic": "a"}, "publish: neither data nor data_base64"),
        ({"op": "publish", "topic": "a", "data": 1, "data_base64": ""}, "publish: both data and data_base64"),
        (
            {"op": "publish", "topic": "a", "data": 1, "retain": "yes"},
            "publish: retain: expected bool | null, got str",
        ),
        ({"op": "publish", "topic": "a", "data": 1, "ttl": 0}, "publish: ttl: expected float > 0.0"),
        ({"op": "publish", "topic": "a", "data": 1, "ttl": -1}, "publish: ttl: expected float > 0.0"),
        (
            {"op": "publish", "topic": "a", "data": 1, "ttl": 2e9},
            "publish: ttl: expected float <= 1000000000.0",
        ),
        (
            {"op": "publish", "topic": "a", "data": 1, "ttl": "1"},
            "publish: ttl: expected float | null, got str",
        ),
        ({"op": "publish", "topic": "a", "data": 1, "key": ""}, "publish: key: expected str of length >= 1"),
        (
            {"op": "publish", "topic": "a", "data": 1, "key": "k" * 256},
            "publish: key: expected str of length <= 255",
        ),
        ({"op": "publish", "topic": "a", "data": 1, "key": "ü" * 128}, "key: longer than 255 bytes"),
        (
            {"op": "publish", "topic": "a", "data": "", "content_type": "a\r\nb: c"},
            "content_type: not printable ASCII",
        ),
        (
            {"op": "publish", "topic": "a", "data": "", "content_type": " "},
            "content_type: not printable ASCII",
        ),
        (
            {"op": "publish", "topic": "a", "data": "", "content_type": "a" * 256},
            "content_type: longer than 255 bytes",
        ),
        (
            {"op": "publish", "topic": "a", "data": 1, "headers": []},
            "publish: headers: expected object | null, got array",
        ),
        (
            {"op": "publish", "topic": "a", "data": 1, "headers": {"n": 1}},
            "publish: headers[...]: expected str, got int",
        ),
        ({"op": "ack"}, "ack: object missing required field offset"),
        ({"op": "ack", "offset": -1}, "ack: offset: expected int >= 0"),
        ({"op": "ack", "offset": 2**63}, "ack: offset: expected int <= 9223372036854775807"),
        ({"op": "ack", "offset": True}, "ack: offset: expected int | null, got bool"),
        ({"op": "ack", "offset": 1.0}, "ack: offset: expected int | null, got float"),
        ({"op": "ping", "id": "x" * 65}, "ping: id: expected str of length <= 64"),
        ({"op": "ping", "id": "ü" * 33}, "id: longer than 64 bytes"),
        ({"op": "ping", "id": 1.5}, "ping: id: expected int | str | null, got float"),
        ({"op": "ping", "id": False}, "ping: id: expected int | str | null, got bool"),
        ({"op": "ping", "id": 2**63}, "ping: id: expected int <= 9223372036854775807"),
        ({"op": "ping", "id": [1]}, "ping: id: expected int | str | null, got array"),
    ],
)
def test_bad_command_is_rejected_with_what_is_wrong(decode: Decode, fields: Fields, message: str) -> None:
    """docs/protocol.md, errors: a field is missing, unknown or of the wrong type."""
    [rejected] = decode(fields)
    assert isinstance(rejected, Rejected)
    text = rejected.message.replace("map", "object")
    assert (rejected.id, rejected.code, text) == (None, "invalid_command", message)


@both
@pytest.mark.parametrize(
    "fields",
    [
        {"op": "publish", "topic": 1, "data": 1},
        {"op": "publish", "topic": "a"},
        {"op": "publish", "topic": "a", "data_base64": "!"},
        {"op": "nothing"},
        {"op": 1},
        {},
    ],
)
@pytest.mark.parametrize("identifier", [17, "seventeen", "ü" * 32])
def test_rejection_keeps_the_id(decode: Decode, fields: Fields, identifier: object) -> None:
    [rejected] = decode({**fields, "id": identifier})
    assert isinstance(rejected, Rejected)
    assert rejected.id == identifier


@both
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("AA=", "data_base64 is not base64 (RFC 4648 section 4, with padding)"),
        ("A A=", "data_base64 is not base64 (RFC 4648 section 4, with padding)"),
        ("AA==AA==", "data_base64 is not base64 (RFC 4648 section 4, with padding)"),
        ("_w==", "data_base64 is not base64 (RFC 4648 section 4, with padding)"),
        ("ü", "data_base64 is not base64 (RFC 4648 section 4, with padding)"),
    ],
)
def test_bad_base64_is_a_bad_payload(decode: Decode, data: str, message: str) -> None:
    assert decode({"op": "publish", "id": 1, "topic": "a", "data_base64": data}) == [
        Rejected(1, "invalid_payload", message)
    ]


@both
@pytest.mark.parametrize(
    ("fields", "payload", "kind"),
    [
        ({"data": "hi"}, b'"hi"', "json"),
        ({"data": "hi", "content_type": "application/json"}, b'"hi"', "json"),
        ({"data": "hi\nü", "content_type": "text/plain"}, "hi\nü".encode(), "text"),
        ({"data": "<a/>", "content_type": "application/xml"}, b"<a/>", "binary"),
        ({"data": {"a": 1}, "content_type": "application/ld+json"}, b'{"a":1}', "json"),
        ({"data_base64": ""}, b"", "binary"),
        ({"data_base64": "/wA="}, b"\xff\0", "binary"),
        ({"data_base64": "/wA=", "content_type": "image/png"}, b"\xff\0", "binary"),
        ({"data_base64": "aGk=", "content_type": "text/plain"}, b"hi", "text"),
        ({"data_base64": "WzFd", "content_type": "application/json"}, b"[1]", "json"),
    ],
)
def test_content_type_says_what_data_is(decode: Decode, fields: Fields, payload: bytes, kind: str) -> None:
    """docs/protocol.md, the envelope: what kind a payload is follows from its content type."""
    [publish] = decode({"op": "publish", "topic": "a", **fields})
    assert isinstance(publish, Publish)
    assert (publish.payload.replace(b" ", b""), publish.kind) == (payload, kind)
    assert publish.content_type == fields.get("content_type")


@both
@pytest.mark.parametrize(
    "fields",
    [
        {"data": 1, "content_type": "text/plain"},
        {"data": None, "content_type": "image/png"},
        {"data_base64": "/w==", "content_type": "text/plain"},
        {"data_base64": "/w==", "content_type": "application/json"},
    ],
)
def test_data_that_is_not_what_its_content_type_says_is_rejected(decode: Decode, fields: Fields) -> None:
    [rejected] = decode({"op": "publish", "topic": "a", "id": 1, **fields})
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.code) == (1, "invalid_payload")


def test_json_data_is_the_slice_of_the_frame() -> None:
    frame = rb'{"op":"publish","topic":"a","data": {"a": 1.00000000000000000001, "b": 1e999, "a":"\u00fc"} }'
    [publish] = decode_commands_json(frame)
    assert isinstance(publish, Publish)
    assert publish.payload == rb'{"a": 1.00000000000000000001, "b": 1e999, "a":"\u00fc"}'
    assert type(publish.payload) is bytes


@both
def test_headers_are_bounded_in_count_and_bytes(decode: Decode) -> None:
    publish = {"op": "publish", "topic": "a", "data": 1, "id": 1}
    most = {f"{number:02}": "" for number in range(MAX_HEADERS)}
    assert isinstance(decode({**publish, "headers": most})[0], Publish)
    [rejected] = decode({**publish, "headers": {**most, "x": ""}})
    assert rejected == Rejected(1, "limit_exceeded", "headers: 65 of them, at most 64")
    assert isinstance(decode({**publish, "headers": {"ü": "x" * (MAX_HEADERS_BYTES - 2)}})[0], Publish)
    [rejected] = decode({**publish, "headers": {"ü": "x" * (MAX_HEADERS_BYTES - 1)}})
    assert rejected == Rejected(1, "limit_exceeded", "headers: 8,193 bytes, at most 8,192")


@both
def test_array_is_its_commands_in_order_and_a_bad_one_harms_no_other(decode: Decode) -> None:
    commands = decode(
        [{"op": "ping", "id": 1}, 5, {"op": "x", "id": 2}, [], {"op": "publish", "topic": "a", "data": 1}]
    )
    assert [type(command) for command in commands] == [Ping, Rejected, Rejected, Rejected, Publish]
    assert commands[1] == Rejected(None, "invalid_command", "expected object, got int")
    assert commands[2] == Rejected(2, "invalid_command", "unknown op 'x'")


@both
def test_empty_array_is_no_command(decode: Decode) -> None:
    assert decode([]) == []


def test_array_may_hold_as_many_as_the_limit_says() -> None:
    for size in range(5):
        frame = json.dumps([{"op": "ping"}] * size).encode()
        packed = msgpack.packb([{"op": "ping"}] * size)
        assert isinstance(packed, bytes)
        refusal = Rejected(
            None, "limit_exceeded", "frame holds more than 3 commands (websocket.commands_limit)"
        )
        expected = [Ping()] * size if size <= 3 else [refusal]
        assert decode_commands_json(frame, limit=3) == expected
        assert decode_commands_msgpack(packed, limit=3) == expected


def test_array_beyond_the_limit_is_parsed_all_the_same() -> None:
    [rejected] = decode_commands_json(b'[{"op":"ping"},{"op":"ping"},{"op":"ping"},', limit=1)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "invalid_command"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "input data was truncated"),
        (b" ", "input data was truncated"),
        (b"{", "input data was truncated"),
        (b"[", "input data was truncated"),
        (b"nul", "input data was truncated"),
        (b"nope", "JSON is malformed: invalid character"),
        (b"1", "expected object, got int"),
        (b"null", "expected object, got null"),
        (b'"ping"', "expected object, got str"),
        (b'{"op":"ping"}}', "JSON is malformed: trailing characters (byte 14)"),
        (b'[{"op":"ping"},', "input data was truncated"),
        (b'[{"op":"ping"}]1', "JSON is malformed: trailing characters (byte 16)"),
        (b'{"op":"ping","id":NaN}', "JSON is malformed: invalid character (byte 18)"),
        (
            b'{"op":"publish","topic":"a","data":"\\ud800\\u0041"}',
            "JSON is malformed: invalid utf-16 surrogate pair",
        ),
        (b'{"op":"publish","topic":"a","data":' + b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_frame_that_cannot_be_parsed_is_one_rejection(frame: bytes, message: str) -> None:
    [rejected] = decode_commands_json(frame)
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.code) == (None, "invalid_command")
    assert message in rejected.message


def test_leading_white_space_is_json_too() -> None:
    assert decode_commands_json(b'\r\n\t {"op":"ping"} \n') == [Ping()]
    assert decode_commands_json(b'\r\n\t [{"op":"ping"}] \n') == [Ping()]


def test_last_of_a_key_given_twice_counts() -> None:
    [publish] = decode_commands_json(b'{"op":"publish","topic":"a","data":1,"topic":"b","data":2}')
    assert publish == Publish("b", b"2")
    [publish] = decode_commands_json(b'{"op":"publish","topic":"a","data":1,"headers":{"n":"1","n":"2"}}')
    assert isinstance(publish, Publish)
    assert publish.headers == {"n": "2"}


def test_two_ops_that_differ_are_refused() -> None:
    for frame in (b'{"op":"ping","op":"ack","offset":1}', b'{"op":"ack","op":"ping","offset":1}'):
        [rejected] = decode_commands_json(frame)
        assert isinstance(rejected, Rejected)
        assert rejected.code == "invalid_command"


def test_json_data_nests_up_to_128_levels() -> None:
    for levels, accepted in ((128, True), (129, False)):
        frame = b'{"op":"publish","id":1,"topic":"a","data":' + b"[" * levels + b"]" * levels + b"}"
        [command] = decode_commands_json(frame)
        assert isinstance(command, Publish if accepted else Rejected)
        if isinstance(command, Rejected):
            assert command == Rejected(1, "invalid_payload", "JSON payload has more than 128 levels")


def test_many_elements_beyond_the_limit_cost_no_objects() -> None:
    frame = b"[" + b"0," * 200_000 + b"0]"
    [rejected] = decode_commands_json(frame, limit=10)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "limit_exceeded"


# msgpack alone


def publish_in_msgpack(data: object) -> list[Command | Rejected]:
    return by_msgpack({"op": "publish", "id": 1, "topic": "a", "data": data})


def test_msgpack_bin_is_bytes() -> None:
    for size in (0, 300, 70_000):  # bin 8, bin 16, bin 32
        assert publish_in_msgpack(b"\xff" * size) == [Publish("a", b"\xff" * size, "binary", 1)]


def test_msgpack_bin_may_be_what_its_content_type_says() -> None:
    fields = {"op": "publish", "topic": "a", "data": b"[1e999]", "content_type": "application/json"}
    assert by_msgpack(fields) == [Publish("a", b"[1e999]", content_type="application/json")]
    fields = {"op": "publish", "topic": "a", "data": "ü".encode(), "content_type": "text/plain"}
    assert by_msgpack(fields) == [Publish("a", "ü".encode(), "text", content_type="text/plain")]


def test_msgpack_data_becomes_json() -> None:
    value = {"a": [1, -1, 2**64 - 1, 1.5, True, None, 'ü"\n'], "": {}}
    [publish] = publish_in_msgpack(value)
    assert isinstance(publish, Publish)
    assert publish.kind == "json"
    assert json.loads(publish.payload) == value
    assert "ü".encode() in publish.payload


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (math.nan, "data is not what JSON can hold: out of range float values"),
        ([math.inf], "data is not what JSON can hold: out of range float values"),
        ({"a": b""}, "data is not what JSON can hold: object of type bytes"),
        ({1: 2}, "data is not what JSON can hold: int is not allowed for map key"),
        ({b"a": 2}, "data is not what JSON can hold: keys must be str"),
        (msgpack.ExtType(5, b"secret"), "data is not what JSON can hold: extension type 5"),
        ([msgpack.ExtType(5, b"")], "data is not what JSON can hold: extension type 5"),
        (msgpack.Timestamp(1), "data is not what JSON can hold: object of type Timestamp"),
    ],
)
def test_msgpack_data_that_json_cannot_hold_is_a_bad_payload(data: object, flaw: str) -> None:
    [rejected] = publish_in_msgpack(data)
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.code) == (1, "invalid_payload")
    assert rejected.message.startswith(flaw)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [([0.0] * 6, True), ([0.5] * 28, False), ([False] * 200, True), ([False] * 226, False)],
)
def test_msgpack_data_that_json_of_the_limit_cannot_come_of_is_not_expanded(
    value: object, accepted: bool
) -> None:
    """Nine bytes become four at best. What grows in JSON is for whoever knows the limit to refuse."""
    packed = msgpack.packb([{"op": "publish", "id": 1, "topic": "a", "data": value}])
    for decoded in (decode_commands_msgpack(packed, 1000, 100), decode_publishes_msgpack(packed, 1000, 100)):
        if accepted:
            assert isinstance(decoded[0], Publish)
        else:
            assert isinstance(decoded[0], Rejected)
            assert decoded[0].code == "limit_exceeded"
            assert "broker.max_payload_bytes" in decoded[0].message


def test_msgpack_data_nests_no_deeper_than_json() -> None:
    for levels, accepted in ((128, True), (129, False), (600, False)):
        head = b"\x84\xa2op\xa7publish\xa2id\x01\xa5topic\xa1a\xa4data"
        [command] = decode_commands_msgpack(head + b"\x91" * levels + b"\xc0")
        assert isinstance(command, Publish if accepted else Rejected)
        if isinstance(command, Rejected):
            assert (command.id, command.code) == (1, "invalid_payload")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="reserved byte"),
        pytest.param(b"\x81\xa2op\xa4ping\x00", id="trailing byte"),
        pytest.param(b"\x81\xa2op", id="truncated"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="array that says it is long"),
        pytest.param(b"\x82\xa2op\xa9subscribe\xa6filter\xdd\xff\xff\xff\xff", id="inner array that says so"),
        pytest.param(b"\x82\xa2op\xa4ping\x01\x02", id="key that is no string"),
        pytest.param(b"\x81\xc4\x02op\xa4ping", id="key that is bin"),
        pytest.param(b"\x81\xa2op\xa4pin\xff", id="op that is not UTF-8"),
        pytest.param(
            b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\xa1\xff\xa2id\x01", id="data that is not UTF-8"
        ),
        pytest.param(b"\x82\xa2op\xa7publish\xa4data" + b"\x91" * 100_000 + b"\xc0", id="nested"),
        pytest.param(b"\x91" * 100_000 + b"\xc0", id="arrays in arrays"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", id="timestamp"),
        pytest.param(b"\x83\xa2op\xa7publish\xa5topic\xc4\x01a\xa4data\x01", id="topic that is bin"),
    ],
)
def test_broken_msgpack_is_one_rejection(frame: bytes) -> None:
    [rejected] = decode_commands_msgpack(frame)
    assert isinstance(rejected, Rejected)
    assert rejected.code in ("invalid_command", "invalid_payload")


def test_msgpack_ttl_is_finite() -> None:
    for ttl in (math.inf, math.nan, -math.inf, 1e300):
        [rejected] = by_msgpack({"op": "publish", "id": 1, "topic": "a", "data": 1, "ttl": ttl})
        assert isinstance(rejected, Rejected)
        assert (rejected.id, rejected.code) == (1, "invalid_command")


# Many messages in one request


def batch_json(items: list[object], limit: int) -> list[Publish | Rejected]:
    return decode_publishes_json(json.dumps(items).encode(), limit)


def batch_lines(items: list[object], limit: int) -> list[Publish | Rejected]:
    return decode_publishes_lines(b"\r\n".join(json.dumps(item).encode() for item in items), limit)


def batch_msgpack(items: list[object], limit: int) -> list[Publish | Rejected]:
    packed = msgpack.packb(items)
    assert isinstance(packed, bytes)
    return decode_publishes_msgpack(packed, limit)


Batch = Callable[[list[object], int], list[Publish | Rejected]]
batches = pytest.mark.parametrize("batch", [batch_json, batch_lines, batch_msgpack])


@batches
def test_batch_is_its_messages_in_order(batch: Batch) -> None:
    """docs/protocol.md, publish: `POST /publish`."""
    items: list[object] = [
        {"topic": "a", "data": 1, "ttl": 5},
        {"topic": "a", "data_base64": "/w==", "op": "publish"},
        {"topic": "a"},
        {"topic": "a", "data": 1, "op": "ping"},
    ]
    publishes = batch(items, 4)
    assert publishes[:2] == [Publish("a", b"1", ttl=5.0), Publish("a", b"\xff", "binary")]
    assert publishes[2:] == [
        Rejected(None, "invalid_command", "publish: neither data nor data_base64"),
        Rejected(None, "invalid_command", "ping: op: invalid value 'ping'"),
    ]


@batches
def test_batch_beyond_the_limit_is_refused(batch: Batch) -> None:
    items: list[object] = [{"topic": "a", "data": 1}] * 3
    assert len(batch(items, 3)) == 3
    with pytest.raises(LimitExceeded, match=r"more than 2 messages \(broker\.batch_limit_messages\)"):
        batch(items, 2)


@pytest.mark.parametrize(
    "body", [b"", b"1", b"{", b"[1", b"nul", b'[{"topic":"\xff","data":1}]', b"[" * 100_000]
)
def test_body_that_is_neither_array_nor_object_is_refused(body: bytes) -> None:
    """docs/protocol.md, publish: a body that cannot be parsed publishes nothing."""
    with pytest.raises(InvalidCommand):
        decode_publishes_json(body, 10)
    with pytest.raises(InvalidCommand):
        decode_publishes_msgpack(b"\xc0" + body, 10)


def test_object_is_a_batch_of_one() -> None:
    expected = [Publish("a", b"1")]
    assert decode_publishes_json(b'{"topic":"a","data":1}', 10) == expected
    assert decode_publishes_msgpack(msgpack.packb({"topic": "a", "data": 1}), 10) == expected
    assert isinstance(decode_publishes_json(b"{}", 10)[0], Rejected)


def test_element_that_is_no_object_is_one_rejection() -> None:
    assert decode_publishes_json(b"[1]", 10) == [
        Rejected(None, "invalid_command", "expected object, got int")
    ]


@pytest.mark.parametrize("line", [b"nul", b"1", b"[]", b'{"topic":"a"', b'{"topic":"a\xff"}'])
def test_line_that_is_no_object_is_refused_by_its_number(line: bytes) -> None:
    with pytest.raises(InvalidCommand, match=r"line 3: |not UTF-8"):
        decode_publishes_lines(b'{"topic":"a","data":1}\n\n' + line, 10)


def test_empty_lines_are_skipped() -> None:
    body = b'\n \r\n{"topic":"a","data":1}\n\n{"topic":"b","data":2}\n'
    assert decode_publishes_lines(body, 2) == [Publish("a", b"1"), Publish("b", b"2")]
    assert decode_publishes_lines(b"", 2) == []
