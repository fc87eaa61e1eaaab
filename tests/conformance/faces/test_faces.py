"""What docs/protocol.md promises of every face, held to each: WebSocket, event stream, long-poll, read."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import aiohttp
import msgpack
import pytest

from broker.settings import ServerSettings, Settings
from extra.payloads import JSONValue
from tests.conformance.faces.clients import (
    FACES,
    FACES_OF_MANY,
    STREAMS,
    WAITING,
    Face,
    Fields,
    MsgpackWebSocketFace,
    PollFace,
    ReadFace,
    Refused,
    WebSocketFace,
)
from tests.conformance.faces.serving import Place, serving, until

SMALL_BUFFER_BYTES = 4096


def on(faces: list[type[Face]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("face", faces, ids=[face.name for face in faces])


async def publish(place: Place, *topics: str) -> None:
    for topic in topics:
        await place.broker.publish(topic, {"of": topic})


# The envelope

ENVELOPES: dict[str, tuple[bytes, str | None, Fields]] = {
    "an object": (b'{"celsius": 21.5}', None, {"data": {"celsius": 21.5}}),
    "JSON of several lines": (b'[\r\n 1,\n\t"a\\nb"\n]', "application/json", {"data": [1, "a\nb"]}),
    "null": (b"null", "application/json", {"data": None}),
    "text": ("één\n😀\r".encode(), "text/plain", {"data": "één\n😀\r"}),
    "text that looks like JSON": (b"12", "text/plain", {"data": "12"}),
    "no bytes": (b"", None, {"data": ""}),
    "bytes": (b"\x00\xff", None, {"data_base64": "AP8="}),
    "JSON of a type": (b"[]", "application/ld+json", {"data": [], "content_type": "application/ld+json"}),
    "text of a type": (b"a,b", "text/csv", {"data": "a,b", "content_type": "text/csv"}),
    "bytes of a type": (b"\x89PNG", "image/png", {"data_base64": "iVBORw==", "content_type": "image/png"}),
}


@on(FACES)
async def test_the_envelope_is_the_same_whatever_brings_it(face: type[Face]) -> None:
    async with serving() as place, aiohttp.ClientSession(f"http://127.0.0.1:{place.port}") as http:
        for payload, content_type, _ in ENVELOPES.values():
            headers = {"Content-Type": content_type or "application/x-www-form-urlencoded"}
            async with http.post("/t/a/b", data=payload, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
        async with face(place.port, "a/b", since="start") as subscriber:
            assert await subscriber.take(len(ENVELOPES)) == [
                {"op": "message", "topic": "a/b", "offset": offset, **fields}
                for offset, (_, _, fields) in enumerate(ENVELOPES.values(), 1)
            ]


@on(FACES)
async def test_properties_are_there_when_the_publisher_gave_them(face: type[Face]) -> None:
    async with serving() as place:
        expires_at = place.clock.time() + 60
        await place.broker.publish("é/%/ ?", "x", ttl=60, headers={"x-y": "z"}, retain=True)
        async with face(place.port, "é/%/ ?", since="start") as subscriber:
            assert await subscriber.take(1) == [
                {
                    "op": "message",
                    "topic": "é/%/ ?",
                    "offset": 1,
                    "data": "x",
                    "headers": {"x-y": "z"},
                    "expires_at": expires_at,
                    "retained": True,
                }
            ]


@on(FACES)
async def test_numbers_keep_their_digits(face: type[Face]) -> None:
    """Integers beyond 64 bits have no place in msgpack: there the JSON text travels."""
    async with serving() as place:
        payload = b'{"n":123456789012345678901234567890}'
        async with aiohttp.ClientSession(f"http://127.0.0.1:{place.port}") as http:
            await http.post("/t/a", data=payload, headers={"Content-Type": "application/json"})
        async with face(place.port, "a", since="start") as subscriber:
            [message] = await subscriber.take(1)
        if "msgpack" in face.name:
            assert message["content_type"] == "application/json"
            assert message["data_base64"] == "eyJuIjoxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTB9"
        else:
            assert message["data"] == {"n": 123456789012345678901234567890}


# Every way to publish

Way: TypeAlias = Callable[[Place, Fields], Awaitable[None]]


async def publish_in_process(place: Place, fields: Fields) -> None:
    await place.broker.publish("a/b", fields["data"], retain=True, headers={"x": "y"}, ttl=60)


def by_request(method: str, path: str, encode: Callable[[Fields], bytes], content_type: str) -> Way:
    async def send(place: Place, fields: Fields) -> None:
        headers = {"Content-Type": content_type}
        if path != "/publish":
            headers |= {"Extra-Header-X": "y", "Extra-TTL": "60"}
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{place.port}") as http,
            http.request(method, path, data=encode(fields), headers=headers) as answer,
        ):
            assert answer.status == 201, await answer.text()

    return send


def by_command(face: type[WebSocketFace]) -> Way:
    async def send(place: Place, fields: Fields) -> None:
        async with face(place.port, "$none") as session:
            await session.command(op="publish", id="p", **fields)
            assert (await session.push() or {})["op"] == "subscribed"
            assert (await session.push() or {})["op"] == "published"

    return send


def encode_data(fields: Fields) -> bytes:
    return json.dumps(fields["data"]).encode()


WAYS: dict[str, Way] = {
    "in process": publish_in_process,
    "POST": by_request("POST", "/t/a/b?retain=1", encode_data, "application/json"),
    "PUT": by_request("PUT", "/t/a/b", encode_data, "application/json"),
    "batch, JSON": by_request("POST", "/publish", lambda f: json.dumps([f]).encode(), "application/json"),
    "batch, lines": by_request("POST", "/publish", lambda f: json.dumps(f).encode(), "application/x-ndjson"),
    "batch, msgpack": by_request("POST", "/publish", lambda f: msgpack.packb([f]), "application/msgpack"),
    "WebSocket, JSON": by_command(WebSocketFace),
    "WebSocket, msgpack": by_command(MsgpackWebSocketFace),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@on(FACES)
async def test_what_is_published_on_any_face_is_received_on_any(face: type[Face], way: Way) -> None:
    async with serving() as place:
        fields: Fields = {
            "topic": "a/b",
            "data": {"n": [1, None, "x"]},
            "retain": True,
            "ttl": 60,
            "headers": {"x": "y"},
        }
        await way(place, fields)
        async with face(place.port, "a/+", since="start") as subscriber:
            assert await subscriber.take(1) == [
                {
                    "op": "message",
                    "topic": "a/b",
                    "offset": 1,
                    "data": {"n": [1, None, "x"]},
                    "headers": {"x": "y"},
                    "expires_at": place.clock.time() + 60,
                    "retained": True,
                }
            ]


# Filters and order


@on(FACES)
async def test_what_the_filter_matches_comes_in_the_order_of_offsets(face: type[Face]) -> None:
    async with serving() as place:
        await publish(place, "a", "a/b", "b", "a/b/c", "a/d", "A/b", "a/b")
        async with face(place.port, "a/+", since="start") as subscriber:
            assert await subscriber.offsets(3) == [2, 5, 7]
        async with face(place.port, "a/#", since="start") as subscriber:
            assert await subscriber.offsets(5) == [1, 2, 4, 5, 7]


@on(FACES_OF_MANY)
async def test_a_message_that_several_filters_match_comes_once(face: type[Face]) -> None:
    async with serving() as place:
        await publish(place, "a", "a/b", "b", "c")
        async with face(place.port, "a/#", "+", "a/b", "a/#", since="start") as subscriber:
            assert await subscriber.offsets(4) == [1, 2, 3, 4]


@on(WAITING)
async def test_who_waits_gets_what_is_published(face: type[Face]) -> None:
    async with serving() as place, face(place.port, "a/#", since="now") as subscriber:
        for offset in (1, 2, 3):
            waiting = asyncio.create_task(subscriber.take(1))
            await until(lambda: len(place.broker.sessions) == 1)  # a long-poll has one while it waits
            receipt = await place.broker.publish("a/b", offset)
            assert receipt.subscribers == 1
            assert await waiting == [{"op": "message", "topic": "a/b", "offset": offset, "data": offset}]


@on(WAITING)
async def test_a_subscriber_that_has_gone_is_forgotten(face: type[Face]) -> None:
    async with serving() as place:
        async with face(place.port, "a/#", since="now") as subscriber:
            waiting = asyncio.create_task(subscriber.next())
            await until(lambda: len(place.broker.sessions) == 1)
            waiting.cancel()
            await asyncio.wait([waiting])
        await until(lambda: not place.broker.sessions and not place.hub.open)
        assert (await place.broker.publish("a/b", 1)).subscribers == 0


# Where to start


@pytest.mark.parametrize(
    ("since", "offsets"),
    [("start", [1, 2, 4]), ("last:2", [2, 4]), ("last:0", []), ("e1-1", [2, 4]), ("e1-4", []), ("now", [])],
)
@on(FACES)
async def test_since_says_where_to_start(face: type[Face], since: str, offsets: list[int]) -> None:
    async with serving() as place:
        await publish(place, "a", "a", "b", "a")
        async with face(place.port, "a", since=since) as subscriber:
            assert await subscriber.offsets(len(offsets)) == offsets
            await publish(place, "a")
            assert await subscriber.offsets(1) == [5]


@on(FACES)
async def test_streams_start_now_and_reads_with_the_oldest(face: type[Face]) -> None:
    async with serving() as place:
        await publish(place, "a")
        async with face(place.port, "a") as subscriber:
            await publish(place, "a")
            assert await subscriber.offsets(1) == [1 if issubclass(face, PollFace) else 2]


@on(FACES)
async def test_who_starts_now_gets_what_is_retained_first(face: type[Face]) -> None:
    async with serving() as place:
        await place.broker.publish("a/x", "old", retain=True)
        await place.broker.publish("a/y", "y", retain=True)
        await place.broker.publish("a/x", "x", retain=True)
        await place.broker.publish("a/y", "not retained")
        await place.broker.publish("b", "b", retain=True)
        async with face(place.port, "a/+", since="now") as subscriber:
            assert [message["data"] for message in await subscriber.take(2)] == ["y", "x"]
            await publish(place, "a/z")
            assert await subscriber.offsets(1) == [6]
        async with face(place.port, "a/+", since="now", retained=False) as subscriber:
            await publish(place, "a/z")
            assert await subscriber.offsets(1) == [7]


@on(FACES)
async def test_what_has_expired_is_given_to_nobody_and_is_no_loss(face: type[Face]) -> None:
    async with serving(keep=2) as place:
        await place.broker.publish("a", 1, ttl=10, retain=True)
        await publish(place, "a")
        place.clock.advance(11)
        await publish(place, "a")
        async with face(place.port, "a", since="e1-0") as subscriber:
            assert await subscriber.offsets(2) == [2, 3]
        async with face(place.port, "a", since="now") as subscriber:
            await publish(place, "a")
            assert await subscriber.offsets(1) == [4]


# Resuming


@pytest.mark.parametrize("second", FACES, ids=[face.name for face in FACES])
@pytest.mark.parametrize("first", WAITING, ids=[face.name for face in WAITING])
async def test_a_cursor_of_any_face_resumes_on_any(first: type[Face], second: type[Face]) -> None:
    async with serving() as place:
        await publish(place, *["a", "b"] * 4)
        async with first(place.port, "a", since="start") as subscriber:
            assert await subscriber.offsets(2) == [1, 3]
            cursor = subscriber.cursor
        await publish(place, "a")
        async with second(place.port, "a", since=cursor) as subscriber:
            assert await subscriber.offsets(3) == [5, 7, 9]


@on(FACES)
async def test_what_was_evicted_is_told_before_what_is_left(face: type[Face]) -> None:
    async with serving(keep=2) as place:
        await publish(place, "a", "a", "b", "a", "a")
        async with face(place.port, "a", since="e1-1") as subscriber:
            gap, *left = await subscriber.take(3)
            assert {name: gap[name] for name in ("op", "after", "until", "reason")} == {
                "op": "gap",
                "after": 1,
                "until": 2,
                "reason": "evicted",
            }
            assert [message["offset"] for message in left] == [4, 5]
            cursor = subscriber.cursor
        await publish(place, "a")
        async with face(place.port, "a", since=cursor) as subscriber:
            assert await subscriber.offsets(1) == [6]


@on(FACES)
async def test_a_loss_that_has_been_told_is_not_told_again(face: type[Face]) -> None:
    """The cursor that goes with it stands for that as well."""
    async with serving(keep=2) as place:
        await publish(place, "a", "a", "a", "a")
        async with face(place.port, "a", since="e1-1-2") as subscriber:
            assert await subscriber.offsets(2) == [3, 4]


@on(FACES)
async def test_what_the_filter_does_not_match_is_no_loss(face: type[Face]) -> None:
    async with serving(keep=2) as place:
        await publish(place, "a", "b", "b", "b", "a")
        async with face(place.port, "a", since="e1-0") as subscriber:
            assert await subscriber.offsets(2) == [1, 5]


@on(FACES)
async def test_a_cursor_of_another_life_of_the_log_is_told_and_all_that_is_left_follows(
    face: type[Face],
) -> None:
    async with serving(epoch="e2") as place:
        await publish(place, "a", "a")
        async with face(place.port, "a", since="e1-17") as subscriber:
            gap, *left = await subscriber.take(3)
            assert {name: gap[name] for name in ("op", "after", "until", "reason")} == {
                "op": "gap",
                "after": None,
                "until": 0,
                "reason": "epoch",
            }
            assert [message["offset"] for message in left] == [1, 2]
            assert subscriber.cursor == "e2-2"


# Refusals


@pytest.mark.parametrize(
    ("topic_filter", "options", "code"),
    [
        ("a/#/b", {}, "invalid_filter"),
        ("a+", {}, "invalid_filter"),
        ("/".join("x" * 129), {}, "invalid_filter"),
        ("a", {"since": "e1-18"}, "invalid_cursor"),
        ("a", {"since": "e1-1-18"}, "invalid_cursor"),
        ("a", {"since": "e1--1"}, "invalid_cursor"),
        ("a", {"since": "yesterday"}, "invalid_cursor"),
        ("a", {"since": "last:-1"}, "invalid_cursor"),
        ("a", {"since": "last:10001"}, "invalid_cursor"),
    ],
)
@on(FACES)
async def test_bad_input_gets_the_same_code_on_each(
    face: type[Face], topic_filter: str, options: dict[str, str], code: str
) -> None:
    async with serving() as place:
        await publish(place, "a")
        with pytest.raises(Refused) as refused:
            async with face(place.port, topic_filter, **options):  # type: ignore[arg-type]  # all are strings
                pass
        assert refused.value.code == code
        assert refused.value.status in (None, 400)
        assert not any(session.filters for session in place.broker.sessions.values())


@on(STREAMS)
async def test_an_unknown_overflow_policy_is_refused(face: type[Face]) -> None:
    async with serving() as place:
        with pytest.raises(Refused, match="invalid_command"):
            async with face(place.port, "a", overflow="block"):
                pass


# Those who do not keep up


def small() -> Settings:
    """The settings under which a client that does not read is slow after a few KiB."""
    return Settings(server=ServerSettings(write_high_water_bytes=1))


async def fill(place: Place, topics: list[str]) -> list[int]:
    """Publish more than an outbox and the kernel hold, as fast as a client that reads could take it."""
    offsets = []
    for _ in range(60):
        offsets += [(await place.broker.publish(topic, b"x" * 1000)).offset for topic in topics]
        await asyncio.sleep(0)
    return offsets


@pytest.mark.parametrize("second", FACES, ids=[face.name for face in FACES])
@on(STREAMS)
async def test_a_slow_subscriber_is_told_so_and_resumes_with_nothing_lost(
    face: type[Face], second: type[Face]
) -> None:
    async with serving(small(), outbox_limit_bytes=5000, send_buffer_bytes=SMALL_BUFFER_BYTES) as place:
        async with face(place.port, "a", since="now", receive_buffer_bytes=SMALL_BUFFER_BYTES) as slow:
            offsets = await fill(place, ["a"])
            seen: list[JSONValue] = []
            async with asyncio.timeout(5):
                while (entry := await slow.next()) is not None and entry["op"] == "message":
                    seen.append(entry["offset"])
            assert entry is not None
            assert (entry["op"], entry["reason"]) == ("goodbye", "slow")
            assert await slow.next() is None
        assert 0 < len(seen) < len(offsets)
        async with second(place.port, "a", since=str(entry["cursor"])) as resumed:
            assert seen + await resumed.offsets(len(offsets) - len(seen)) == offsets
        assert place.broker.figures()["overflows"] == 1
        assert place.hub.goodbyes_total["slow"] == 1


@on(STREAMS)
async def test_under_drop_oldest_a_gap_tells_what_was_dropped(face: type[Face]) -> None:
    async with serving(small(), outbox_limit_bytes=5000, send_buffer_bytes=SMALL_BUFFER_BYTES) as place:
        async with face(
            place.port,
            "a",
            since="now",
            overflow="drop-oldest",
            receive_buffer_bytes=SMALL_BUFFER_BYTES,
        ) as slow:
            offsets = await fill(place, ["a"])
            missing = await read_to(slow, offsets)
        assert missing
        assert place.broker.figures()["dropped"] == len(missing)
        assert place.broker.figures()["overflows"] == 0


@on(STREAMS)
async def test_under_latest_the_newest_of_each_topic_stays(face: type[Face]) -> None:
    async with serving(small(), outbox_limit_bytes=5000, send_buffer_bytes=SMALL_BUFFER_BYTES) as place:
        async with face(
            place.port,
            "a/+",
            since="now",
            overflow="latest",
            receive_buffer_bytes=SMALL_BUFFER_BYTES,
        ) as slow:
            offsets = await fill(place, ["a/x", "a/y", "a/z"])
            missing = await read_to(slow, offsets)
        assert len(missing) > 100
        assert not set(missing).intersection(offsets[-3:])


async def read_to(slow: Face, offsets: list[int]) -> list[int]:
    """Read up to the last of `offsets`; return what was missing, which the gaps have told before."""
    told: list[tuple[int, int]] = []
    seen: list[int] = []
    dropped = 0
    async with asyncio.timeout(5):
        while not seen or seen[-1] != offsets[-1]:
            entry = await slow.next()
            assert entry is not None
            if entry["op"] == "gap":
                after, until, number = entry["after"], entry["until"], entry["dropped"]
                assert isinstance(after, int)
                assert isinstance(until, int)
                assert isinstance(number, int)
                assert entry["reason"] == "overflow"
                told.append((after, until))
                dropped += number
            else:
                assert isinstance(entry["offset"], int)
                seen.append(entry["offset"])
    assert seen == sorted(set(seen))
    missing = [offset for offset in offsets if offset not in seen]
    assert all(any(after < offset <= until for after, until in told) for offset in missing)
    assert dropped == len(missing)
    return missing


@on(STREAMS)
async def test_a_subscriber_that_does_not_read_holds_up_nobody(face: type[Face]) -> None:
    async with (
        serving(small(), outbox_limit_bytes=5000, send_buffer_bytes=SMALL_BUFFER_BYTES) as place,
        face(place.port, "a", since="now", receive_buffer_bytes=SMALL_BUFFER_BYTES),
        face(place.port, "a", since="now") as other,
    ):
        for offset in range(1, 61):
            await place.broker.publish("a", b"x" * 1000)
            assert await other.offsets(1) == [offset]


# The end


@on(WAITING)
async def test_a_broker_that_stops_says_where_and_when_to_resume(face: type[Face]) -> None:
    settings = Settings(server=replace(ServerSettings(), drain_window_s=4.0))
    async with serving(settings) as place:
        await publish(place, "a", "b")
        async with face(place.port, "a", since="start") as subscriber:
            assert await subscriber.offsets(1) == [1]
            waiting = asyncio.create_task(subscriber.take(1))
            await until(lambda: len(place.hub.open) == 1)
            place.server.stop_accepting()
            place.hub.drain()
            [goodbye] = await waiting
            assert (goodbye["op"], goodbye["reason"], goodbye["cursor"]) == ("goodbye", "shutdown", "e1-2")
            assert isinstance(goodbye["reconnect_after"], float)
            assert 0 <= goodbye["reconnect_after"] <= 5
            assert await subscriber.next() is None


@on(STREAMS)
async def test_who_comes_while_the_broker_stops_is_told_at_once(face: type[Face]) -> None:
    async with serving() as place:
        await publish(place, "a")
        place.hub.drain()
        async with face(place.port, "a", since="now") as subscriber:
            [goodbye] = await subscriber.take(1)
            assert (goodbye["op"], goodbye["cursor"]) == ("goodbye", "e1-1")


async def test_who_polls_while_the_broker_stops_does_not_wait() -> None:
    async with serving() as place:
        place.hub.drain()
        async with PollFace(place.port, "a", since="now") as subscriber:
            [goodbye] = await subscriber.take(1)
            assert (goodbye["op"], goodbye["cursor"]) == ("goodbye", "e1-0")


async def test_a_read_ends_with_the_last_there_is() -> None:
    async with serving() as place:
        await publish(place, "a", "b", "a")
        async with ReadFace(place.port, "a") as subscriber:
            assert await subscriber.offsets(2) == [1, 3]
            assert await subscriber.next() is None
