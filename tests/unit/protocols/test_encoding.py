import json

import msgpack
import pytest

from extra.protocols.commands import Ack, Command, Ping, Publish, Subscribe, Unsubscribe
from extra.protocols.decoding import decode_commands_json, decode_commands_msgpack
from extra.protocols.encoding import encode_json, encode_msgpack
from extra.protocols.pushes import (
    Acknowledged,
    ErrorPush,
    GapPush,
    Goodbye,
    MessagePush,
    Pong,
    Published,
    Push,
    Subscribed,
    Unsubscribed,
    Welcome,
    decode_pushes_json,
    decode_pushes_msgpack,
)

COMMANDS = [
    (Subscribe("a/#"), b'{"op":"subscribe","filter":"a/#"}'),
    (
        Subscribe(["a", "b"], 1, "start", "latest", True, "all"),
        b'{"op":"subscribe","filter":["a","b"],"id":1,"since":"start","overflow":"latest","retained":true,"replay":"all"}',
    ),
    (Unsubscribe("a", "u"), b'{"op":"unsubscribe","filter":"a","id":"u"}'),
    (Publish("a", b'{"b": 1}'), b'{"op":"publish","topic":"a","data":{"b": 1}}'),
    (Publish("a", b"null"), b'{"op":"publish","topic":"a","data":null}'),
    (
        Publish("a", b'"\n', "text", content_type="text/plain"),
        rb'{"op":"publish","topic":"a","data":"\"\n","content_type":"text/plain"}',
    ),
    (Publish("a", b"\xff\0", "binary"), b'{"op":"publish","topic":"a","data_base64":"/wA="}'),
    (
        Publish("a", b"1", "json", 7, True, 1.5, "k", "application/ld+json", {"n": "v"}),
        b'{"op":"publish","topic":"a","data":1,"id":7,"retain":true,"ttl":1.5,"key":"k",'
        b'"content_type":"application/ld+json","headers":{"n":"v"}}',
    ),
    (Ack(5), b'{"op":"ack","offset":5}'),
    (Ping(), b'{"op":"ping"}'),
    (Ping(0), b'{"op":"ping","id":0}'),
]

PUSHES = [
    (
        Welcome(session="s", epoch="e", cursor="e-0", version="1"),
        b'{"op":"welcome","session":"s","epoch":"e","cursor":"e-0","version":"1"}',
    ),
    (
        Subscribed(id=1, cursor="e-1", replayed=0, complete=True),
        b'{"op":"subscribed","id":1,"cursor":"e-1","replayed":0,"complete":true}',
    ),
    (
        Subscribed(cursor="e-1", replayed=2, complete=False),
        b'{"op":"subscribed","cursor":"e-1","replayed":2,"complete":false}',
    ),
    (Unsubscribed(), b'{"op":"unsubscribed"}'),
    (
        Published(id="p", topic="a", offset=1, cursor="e-1", subscribers=0),
        b'{"op":"published","id":"p","topic":"a","offset":1,"cursor":"e-1","subscribers":0}',
    ),
    (Acknowledged(id=1, cursor="e-1"), b'{"op":"acknowledged","id":1,"cursor":"e-1"}'),
    (Pong(id="x"), b'{"op":"pong","id":"x"}'),
    (
        GapPush(filter="site/#", after=3, until=12, reason="evicted"),
        b'{"op":"gap","filter":"site/#","after":3,"until":12,"reason":"evicted"}',
    ),
    (
        GapPush(after=None, until=0, reason="epoch"),
        b'{"op":"gap","after":null,"until":0,"reason":"epoch"}',
    ),
    (
        GapPush(after=0, until=9, reason="overflow", dropped=4),
        b'{"op":"gap","after":0,"until":9,"reason":"overflow","dropped":4}',
    ),
    (
        ErrorPush(code="c", message="m", temporary=False),
        b'{"op":"error","code":"c","message":"m","temporary":false}',
    ),
    (
        Goodbye(cursor="e-1", reconnect_after=1.7, reason="shutdown"),
        b'{"op":"goodbye","cursor":"e-1","reconnect_after":1.7,"reason":"shutdown"}',
    ),
    (
        MessagePush(topic="a", offset=1, payload=b"[1]", kind="json", retained=True),
        b'{"op":"message","topic":"a","offset":1,"data":[1],"retained":true}',
    ),
    (
        MessagePush(topic="a", offset=1, payload=b"\xff", kind="binary"),
        b'{"op":"message","topic":"a","offset":1,"data_base64":"/w=="}',
    ),
]


@pytest.mark.parametrize(("item", "frame"), [*COMMANDS, *PUSHES])
def test_fields_stand_in_the_order_of_the_reference_and_those_that_say_nothing_are_left_out(
    item: Command | Push, frame: bytes
) -> None:
    """docs/protocol.md, commands and pushes."""
    assert encode_json(item) == frame


@pytest.mark.parametrize("command", [command for command, _ in COMMANDS])
def test_what_a_client_writes_the_broker_reads(command: Command) -> None:
    assert decode_commands_json(encode_json(command)) == [command]
    [read] = decode_commands_msgpack(encode_msgpack(command))
    if isinstance(read, Publish) and read.kind == "json":
        read.payload = read.payload.replace(b":", b": ")
    assert read == command


@pytest.mark.parametrize("push", [push for push, _ in PUSHES])
def test_what_the_broker_writes_a_client_reads(push: Push) -> None:
    assert decode_pushes_json(encode_json(push)) == [push]
    assert decode_pushes_msgpack(encode_msgpack(push)) == [push]


def test_text_without_a_content_type_is_given_one_so_that_it_is_not_taken_for_json() -> None:
    fields = {"op": "publish", "topic": "a", "data": "hi", "content_type": "text/plain"}
    assert json.loads(encode_json(Publish("a", b"hi", "text"))) == fields
    assert msgpack.unpackb(encode_msgpack(Publish("a", b"hi", "text"))) == fields


@pytest.mark.parametrize("payload", [b"1e999", b"123456789012345678901234567890"])
def test_json_without_counterpart_in_msgpack_travels_as_its_text(payload: bytes) -> None:
    frame = encode_msgpack(Publish("a", payload))
    assert msgpack.unpackb(frame)["data"] == payload
    assert decode_commands_msgpack(frame) == [Publish("a", payload, content_type="application/json")]
    frame = encode_msgpack(Publish("a", payload, content_type="application/ld+json"))
    assert decode_commands_msgpack(frame) == [Publish("a", payload, content_type="application/ld+json")]
    push = MessagePush(topic="a", offset=1, payload=payload, kind="json", content_type="application/ld+json")
    assert decode_pushes_msgpack(encode_msgpack(push)) == [push]
