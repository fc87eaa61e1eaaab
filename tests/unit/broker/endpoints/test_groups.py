"""Groups on each face: what a member is handed, how it acknowledges, and what the broker says of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgpack
import pytest

from broker.endpoints.groups import Sharing
from broker.endpoints.hub import Hub
from broker.endpoints.sse import EventStreams
from extra.errors import (
    ExtraError,
    Forbidden,
    GroupConflict,
    InvalidCommand,
    InvalidCursor,
    InvalidFilter,
    NotDelivered,
)
from extra.http import Handler, NotFound, Response, StreamingResponse
from extra.payloads import JSONValue
from extra.pubsub import BrokerLimits, MemoryEngine, Message
from extra.pubsub.gates import Gate
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine
from tests.unit.broker.endpoints.driving import (
    Fields,
    body_of,
    fields_of,
    headers_of,
    make_request,
    running_hub,
)
from tests.unit.broker.endpoints.test_sessions import MSGPACK, Client, connect, handshake
from tests.unit.broker.endpoints.test_sse import opened, written


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        yield hub


async def publish(hub: Hub, *numbers: int, topic: str = "a") -> None:
    for number in numbers:
        await hub.broker.publish(topic, number)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def poll(hub: Hub, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Response:
    return await Sharing(hub).poll(make_request(method, target, headers))


async def waiting(hub: Hub, target: str) -> asyncio.Task[Response]:
    """Return a poll that waits."""
    task = asyncio.create_task(poll(hub, target))
    await settle()
    assert not task.done()
    return task


def taken(response: Response) -> list[tuple[JSONValue, JSONValue]]:
    """Return the data of the messages of a page, and how often each was handed out."""
    messages = fields_of(response)["messages"]
    assert isinstance(messages, list)
    return [
        (message["data"], message["deliveries"])
        for message in messages
        if isinstance(message, dict) and message["op"] == "message"
    ]


async def post(hub: Hub, path: str, group: str, body: Any) -> Fields:  # Any: also what is no acknowledgement
    sharing = Sharing(hub)
    handler: Handler = sharing.acknowledge if path == "ack" else sharing.give_back
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = make_request("POST", f"/groups/{group}/{path}", body=raw)
    request.params = {"group": group}
    return fields_of(await handler(request))


async def told(hub: Hub, group: str = "g") -> Fields:
    request = make_request("GET", f"/groups/{group}")
    request.params = {"group": group}
    return fields_of(await Sharing(hub).one(request))


async def join(hub: Hub, subprotocol: str | None = None, **options: JSONValue) -> Client:
    client = await connect(hub, subprotocol=subprotocol)
    answer = await client.ask(op="subscribe", id=1, filter="a", group="g", **options)
    assert answer == {
        "op": "subscribed",
        "id": 1,
        "cursor": answer["cursor"],
        "replayed": 0,
        "complete": True,
    }
    return client


# WebSocket


@pytest.mark.parametrize("subprotocol", [None, MSGPACK])
async def test_members_share_what_comes(hub: Hub, subprotocol: str | None) -> None:
    first = await join(hub, subprotocol)
    second = await join(hub, subprotocol)
    await publish(hub, 1, 2)
    [one] = await first.pushes()
    assert one == {
        "op": "message",
        "topic": "a",
        "offset": 1,
        "data": 1,
        "group": "g",
        "deliveries": 1,
    }
    [two] = await second.pushes()
    assert (two["data"], two["deliveries"]) == (2, 1)


@pytest.mark.parametrize("subprotocol", [None, MSGPACK])
async def test_a_member_that_names_itself_takes_the_place_of_the_former(
    hub: Hub, subprotocol: str | None
) -> None:
    former = await connect(hub, subprotocol=subprotocol)
    subscribe: Fields = {"op": "subscribe", "filter": "a", "group": "g", "member": "m"}
    assert (await former.ask(id=1, **subscribe))["op"] == "subscribed"
    assert (await former.ask(id=2, **subscribe))["op"] == "subscribed", "the same again"
    await publish(hub, 1)
    await former.pushes()
    assert (await told(hub))["members"] == [{"member": "m", "unacknowledged": 1}]
    later = await connect(hub, subprotocol=subprotocol)
    later.send({"id": 1, **subscribe})
    pushes = {push["op"]: push for push in await later.pushes()}
    assert set(pushes) == {"subscribed", "message"}
    assert (pushes["message"]["data"], pushes["message"]["deliveries"]) == (1, 2)
    assert [push["reason"] for push in await former.pushes()] == ["session_taken_over"]
    assert (await later.ask(op="ack", id=2, group="g", offset=1))["op"] == "acknowledged"
    assert (await told(hub))["members"] == [{"member": "m", "unacknowledged": 0}]


async def test_headers_and_types_travel_in_both_forms(hub: Hub) -> None:
    packed = await join(hub, MSGPACK)
    await hub.broker.publish("a", b"\x00", content_type="image/png", headers={"x": "y"}, ttl=60)
    [push] = await packed.pushes()
    assert push["headers"] == {"x": "y"}
    data: object = push["data"]
    assert (data, push["content_type"], push["group"]) == (b"\x00", "image/png", "g")
    assert (push["deliveries"], "expires_at" in push) == (1, True)


async def test_acknowledging_moves_the_group_and_is_answered(hub: Hub) -> None:
    client = await join(hub)
    await publish(hub, 1, 2, 3)
    await client.pushes()
    assert await client.ask(op="ack", id=2, group="g", offset=1) == {
        "op": "acknowledged",
        "id": 2,
        "cursor": "e1-1",
    }
    assert await client.ask(op="ack", id=3, group="g", offsets=[2, 3]) == {
        "op": "acknowledged",
        "id": 3,
        "cursor": "e1-3",
    }
    client.send({"op": "ack", "group": "g", "offset": 3})  # twice is once, and nobody wants to know
    assert await client.pushes() == []


async def test_what_is_given_back_goes_to_another_after_its_delay(hub: Hub) -> None:
    first = await join(hub)
    await publish(hub, 1)
    await first.pushes()
    second = await join(hub)
    answer = await first.ask(op="nack", id=2, group="g", offset=1, delay=5)
    assert answer == {"op": "acknowledged", "id": 2, "cursor": "e1-0"}
    assert await second.pushes() == []
    advance(hub, 6)
    hub.tick()
    [again] = await second.pushes()
    assert (again["data"], again["deliveries"]) == (1, 2)


async def test_what_a_connection_held_goes_to_another_when_it_ends(hub: Hub) -> None:
    first = await join(hub)
    await publish(hub, 1)
    await first.pushes()
    second = await join(hub)
    first.feed.closed(1006, "")
    [again] = await second.pushes()
    assert again["deliveries"] == 2
    assert await second.ask(op="unsubscribe", id=3, group="g") == {"op": "unsubscribed", "id": 3}
    assert (await told(hub))["members"] == []


async def test_it_may_be_opened_by_its_url(hub: Hub) -> None:
    client = await handshake(hub, "/t/a?group=g&ack_wait=5&max_unacknowledged=1&order=topic")
    _, subscribed = await client.pushes()
    assert subscribed["op"] == "subscribed"
    await publish(hub, 1, 2)
    [only] = await client.pushes()
    assert only["data"] == 1
    fields = await told(hub)
    assert (fields["ack_wait"], fields["max_unacknowledged"], fields["order"]) == (5, 1, "topic")


async def test_deflated_connections_have_groups_as_well(hub: Hub) -> None:
    client = await handshake(hub, deflate=True)
    client.send({"op": "subscribe", "filter": "a", "group": "g"})
    await settle()
    client.socket.take()
    await hub.broker.publish("a", "x" * 1000)
    await settle()
    frame = client.socket.take()
    assert frame[0] & 0x40, "RSV1: compressed (RFC 7692 7.2.3.1)"
    assert len(frame) < 500


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ({"op": "ack", "group": "g", "offset": 9}, "not_delivered", "was never delivered"),
        ({"op": "nack", "group": "g", "offset": 9}, "not_delivered", "was never delivered"),
        ({"op": "ack", "group": "no", "offset": 1}, "not_subscribed", "not in group 'no'"),
        ({"op": "nack", "group": "g", "offset": 1, "delay": -1}, "invalid_command", "delay -1"),
        ({"op": "unsubscribe", "group": "no"}, "not_subscribed", "not in group 'no'"),
        ({"op": "subscribe", "filter": "b", "group": "g"}, "group_conflict", "filter is 'a' and not 'b'"),
        ({"op": "subscribe", "filter": "a", "group": "g", "order": "key"}, "group_conflict", "order is"),
        ({"op": "subscribe", "filter": "a", "group": "h", "order": "up"}, "invalid_command", "order 'up'"),
        ({"op": "subscribe", "filter": "a", "group": "/"}, "invalid_command", "group '/'"),
        ({"op": "subscribe", "filter": "a", "group": "g", "session": "s"}, "invalid_command", "session"),
        ({"op": "subscribe", "filter": "a", "group": "g", "presence": 1}, "invalid_command", "presence"),
        ({"op": "subscribe", "filter": "a", "group": "g", "member": "m"}, "invalid_command", "is member '"),
        ({"op": "subscribe", "filter": "a", "group": "h", "member": "/"}, "invalid_command", "member '/'"),
        ({"op": "subscribe", "filter": "a", "group": "g", "since": "x"}, "invalid_cursor", "since"),
        ({"op": "subscribe", "filter": "a/#/b", "group": "g"}, "invalid_filter", "a/#/b"),
        ({"op": "subscribe", "filter": "a", "order": "key"}, "invalid_command", "order: only with group"),
    ],
)
async def test_what_cannot_be_done_is_refused(hub: Hub, command: Fields, code: str, message: str) -> None:
    client = await join(hub)
    answer = await client.ask(id=7, **command)
    assert (answer["op"], answer["id"], answer["code"]) == ("error", 7, code)
    assert message in str(answer["message"])
    await publish(hub, 1)
    [push] = await client.pushes()  # it is a member still
    assert push["data"] == 1


async def test_of_several_those_that_it_holds_are_acknowledged(hub: Hub) -> None:
    client = await join(hub)
    await publish(hub, 1)
    await client.pushes()
    answer = await client.ask(op="ack", id=2, group="g", offsets=[8, 1, 9])
    assert (answer["code"], answer["offsets"]) == ("not_delivered", [8, 9])
    assert (await told(hub))["offset"] == 1


async def test_a_member_that_does_not_read_is_handed_no_more_than_fits() -> None:
    limits = BrokerLimits(outbox_limit_bytes=4_000, max_payload_bytes=1_000)
    async with running_hub(limits=limits) as hub:
        client = await join(hub)
        client.socket.writable = False
        for number in range(20):
            await hub.broker.publish("a", f"{number:500}")
        await settle()
        held = (await told(hub))["unacknowledged"]
        assert isinstance(held, int)
        assert 2 <= held <= 6
        client.socket.writable = True
        client.feed.writable()
        seen: list[Fields] = []
        for _ in range(20):
            seen += await client.pushes()
        assert len(seen) == 20  # without waiting for the next second


async def test_a_group_that_others_are_in_cannot_be_removed(hub: Hub) -> None:
    client = await join(hub)
    request = make_request("DELETE", "/groups/g")
    request.params = {"group": "g"}
    with pytest.raises(GroupConflict, match="has 1 members"):
        await Sharing(hub).remove(request)
    client.feed.closed(1000, "")
    assert (await Sharing(hub).remove(request)).status == 204
    with pytest.raises(NotFound, match="no group of the name 'g'"):
        await Sharing(hub).remove(request)


async def test_the_list_has_all_by_name(hub: Hub) -> None:
    client = await join(hub)
    await client.ask(op="subscribe", id=2, filter=["b", "c/#"], group="f", max_deliveries=3, dead_letters="d")
    groups = fields_of(await Sharing(hub).list(make_request("GET", "/groups")))["groups"]
    assert isinstance(groups, list)
    assert groups[0] == {
        "group": "f",
        "filter": ["b", "c/#"],
        "offset": 0,
        "cursor": "e1-0",
        "lag": 0,
        "members": 1,
        "waiting": 0,
        "unacknowledged": 0,
        "dead_letters_total": 0,
        "ack_wait": 30.0,
        "max_unacknowledged": 100,
        "max_deliveries": 3,
        "dead_letters": "d",
        "order": "none",
        "expires": 604800.0,
    }
    assert len(groups) == 2


async def test_a_gap_is_told_with_the_name_of_the_group() -> None:
    async with running_hub(keep=2) as hub:
        client = await join(hub)
        await publish(hub, 1)
        await client.pushes()
        await client.ask(op="ack", id=2, group="g", offset=1)
        client.feed.closed(1000, "")
        advance(hub, 11)
        hub.tick()  # nobody is there: it is put to sleep
        await publish(hub, 2, 3, 4, 5)
        client = await connect(hub)
        client.send({"op": "subscribe", "filter": "a", "group": "g"})
        subscribed, gap, *messages = await client.pushes()
        assert subscribed["op"] == "subscribed"
        assert gap == {"op": "gap", "filter": "a", "after": 1, "until": 3, "reason": "evicted", "group": "g"}
        assert [message["data"] for message in messages] == [4, 5]


async def test_when_the_broker_drains_nothing_is_handed_from_one_to_the_next(hub: Hub) -> None:
    clients = [await join(hub) for _ in range(3)]
    await publish(hub, 1, 2, 3)
    await settle()
    hub.drain()
    await settle()
    assert hub.broker.figures()["group_redeliveries"] == 0
    assert [client.socket.close_code for client in clients] == [1001] * 3


# Event streams


async def test_an_event_stream_says_as_whom_to_acknowledge(hub: Hub) -> None:
    feed, stream = await opened(hub, "/sse?topic=a&group=g")
    assert await written(stream) == (
        b'retry: 2000\n\nevent: joined\ndata: {"group":"g","member":"' + feed.session.id.encode() + b'"}\n\n'
    )
    await publish(hub, 1)
    await settle()
    assert stream.take() == (
        b'data: {"op":"message","topic":"a","offset":1,"data":1,"group":"g","deliveries":1}\n\n'
    )
    assert (await post(hub, "ack", "g", {"member": feed.session.id, "offset": 1}))["offset"] == 1
    feed.closed()
    assert (await told(hub))["members"] == []


async def test_an_event_stream_may_name_its_member(hub: Hub) -> None:
    feed, stream = await opened(hub, "/sse?topic=a&group=g&member=m")
    assert (await written(stream)).endswith(b'event: joined\ndata: {"group":"g","member":"m"}\n\n')
    assert (await told(hub))["members"] == [{"member": "m", "unacknowledged": 0}]
    later, _ = await opened(hub, "/sse?topic=a&group=g&member=m")
    await settle()
    assert b"session_taken_over" in stream.take()
    feed.closed()
    assert (await told(hub))["members"] == [{"member": "m", "unacknowledged": 0}]
    later.closed()


async def test_head_joins_nothing(hub: Hub) -> None:
    response = await EventStreams(hub).open(make_request("HEAD", "/sse?topic=a&group=g"))
    assert isinstance(response, StreamingResponse)
    response = await poll(hub, "/t/a?group=g", method="HEAD")
    assert (response.status, response.content_type) == (200, "application/json")
    assert hub.broker.groups.groups == {}
    with pytest.raises(InvalidFilter):
        await poll(hub, "/t/a%23?group=g", method="HEAD")


@pytest.mark.parametrize(
    "query", ["format=raw", "member=/", "session=s", "presence=1", "overflow=latest", "retained=1", "since=x"]
)
async def test_a_stream_refuses_what_a_group_has_no_use_for(hub: Hub, query: str) -> None:
    with pytest.raises(InvalidCursor if query == "since=x" else InvalidCommand):
        await EventStreams(hub).open(make_request("GET", f"/sse?topic=a&group=g&{query}"))
    assert hub.broker.groups.groups == {}
    assert not hub.broker.sessions


async def test_a_gap_is_an_event_of_its_own() -> None:
    async with running_hub(keep=1) as hub:
        client = await join(hub)
        client.feed.closed(1000, "")
        advance(hub, 11)
        hub.tick()
        await publish(hub, 1, 2)
        _, stream = await opened(hub, "/sse?topic=a&group=g")
        await settle()
        blocks = stream.take().split(b"\n\n")
        gap = (
            b'event: gap\ndata: {"op":"gap","filter":"a","after":0,"until":1,"reason":"evicted","group":"g"}'
        )
        assert blocks[2] == gap


# Polls


class Audited(Gate):
    """Lets nobody publish on `audit`."""

    def guards(self, topic: str) -> bool:
        return topic == "audit"

    async def publishing(self, message: Message, origin: object) -> Message:
        raise Forbidden("nobody may")

    async def subscribing(self, topic_filter: str, origin: object) -> list[str]:
        return [topic_filter]


async def test_dead_letters_of_clients_go_to_no_topic_that_a_gate_guards(hub: Hub) -> None:
    hub.broker.gates.append(Audited())
    options = "max_deliveries=1&dead_letters=audit"
    with pytest.raises(Forbidden, match="dead_letters 'audit'"):
        await poll(hub, f"/t/a?group=g&{options}")
    async with hub.broker.group("g", "a", max_deliveries=1, dead_letters="audit"):
        await join(hub)  # which changes nothing
        await poll(hub, f"/t/a?group=g&member=m&{options}")
    for feed in list(hub.open):
        feed.end("shutdown", 0.0)
    for query in ("", f"&{options}"):
        with pytest.raises(Forbidden, match="dead_letters 'audit'"):
            await poll(hub, f"/t/b?group=g{query}")
    response = await poll(hub, "/t/b?group=g&max_deliveries=1&dead_letters=c")
    assert response.status == 200


async def test_a_poll_takes_one_message_unless_it_asks_for_more(hub: Hub) -> None:
    await publish(hub, 1, 2, 3)
    response = await poll(hub, "/t/a?group=g&member=m&since=start")
    assert taken(response) == [(1, 1)]
    assert fields_of(response)["more"] is True
    assert headers_of(response)["extra-member"] == "m"
    response = await poll(hub, "/t/a?group=g&member=m&limit=10")
    assert taken(response) == [(2, 1), (3, 1)]
    assert fields_of(response)["more"] is False
    assert headers_of(response)["cache-control"] == "no-store"
    members = (await told(hub))["members"]
    assert members == [{"member": "m", "unacknowledged": 3}]
    fields = await post(hub, "ack", "g", {"member": "m", "offsets": [1, 2]})
    assert (fields["offset"], fields["unacknowledged"], fields["cursor"]) == (2, 1, "e1-2")


async def test_a_page_of_a_poll_ends_at_a_mebibyte(hub: Hub) -> None:
    for _ in range(4):
        await hub.broker.publish("a", "x" * 500_000)
    response = await poll(hub, "/t/a?group=g&member=m&since=start&limit=10")
    assert len(taken(response)) == 3
    assert fields_of(response)["more"] is True
    response = await poll(hub, "/t/a?group=g&member=m&limit=10")
    assert len(taken(response)) == 1


async def test_a_poll_waits_for_what_comes(hub: Hub) -> None:
    task = await waiting(hub, "/t/a?group=g&wait=20&limit=5")
    assert hub.polls == 1
    await publish(hub, 1)
    response = await task
    assert taken(response) == [(1, 1)]
    assert (hub.polls, len(hub.open)) == (0, 0)
    member = headers_of(response)["extra-member"]
    await post(hub, "ack", "g", {"member": member, "offset": 1})
    hub.tick()
    assert (await told(hub))["members"] == []  # who holds nothing and asks for nothing is gone


async def test_a_poll_that_has_waited_in_vain_is_answered_204(hub: Hub) -> None:
    await publish(hub, 1)
    response = await poll(hub, "/t/a?group=g&member=m&wait=0.01")
    assert response.status == 204
    assert headers_of(response)["extra-cursor"] == "e1-1"
    response = await poll(hub, "/t/a?group=g&member=m")
    assert (response.status, fields_of(response)["messages"]) == (200, [])


async def test_who_leaves_a_poll_gives_back_what_it_was_about_to_get(hub: Hub) -> None:
    task = await waiting(hub, "/t/a?group=g&member=m&wait=20")
    await publish(hub, 1)
    await asyncio.sleep(0)
    assert hub.broker.figures()["group_deliveries"] == 1
    task.cancel()  # it has not come so far as to answer
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken(await poll(hub, "/t/a?group=g&member=n")) == [(1, 2)]


async def test_the_newer_of_two_polls_of_a_member_gets_what_comes(hub: Hub) -> None:
    older = await waiting(hub, "/t/a?group=g&member=m&wait=20")
    newer = await waiting(hub, "/t/a?group=g&member=m&wait=20")
    assert (await older).status == 204
    await publish(hub, 1)
    assert taken(await newer) == [(1, 1)]
    assert len(hub.open) == 0


class Settling(SlowEngine):
    """Takes its time to keep what is new."""

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__(inner, Random(1))
        self.is_settled = asyncio.Event()

    async def settled(self) -> None:
        await self.is_settled.wait()


def let_settle(hub: Hub) -> None:
    assert isinstance(hub.broker.engine, Settling)
    hub.broker.engine.is_settled.set()


async def test_a_poll_is_a_member_while_its_group_is_being_kept() -> None:
    async with running_hub(wrap=Settling) as hub:
        task = await waiting(hub, "/t/a?group=g&member=m&wait=20")
        hub.tick()
        await settle()
        let_settle(hub)
        await settle()
        await publish(hub, 1)
        async with asyncio.timeout(5):
            assert taken(await task) == [(1, 1)]


async def test_the_newer_of_two_polls_that_come_first_gets_what_comes() -> None:
    async with running_hub(wrap=Settling) as hub:
        target = "/t/a?group=g&member=m&since=last:1&wait=20"
        tasks = {asyncio.create_task(poll(hub, target)) for _ in range(2)}
        await settle()
        let_settle(hub)
        async with asyncio.timeout(5):
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().status for task in done] == [204]
            await publish(hub, 1)
            assert [taken(await task) for task in pending] == [[(1, 1)]]


async def test_a_poll_ends_when_the_broker_drains(hub: Hub) -> None:
    task = await waiting(hub, "/t/a?group=g&member=m&wait=20")
    hub.drain()
    response = await task
    assert response.status == 204
    assert "retry-after" in headers_of(response)
    assert (await poll(hub, "/t/a?group=g&member=m&wait=20")).status == 204


async def test_a_poll_takes_the_member_over_from_a_connection(hub: Hub) -> None:
    client = await join(hub)
    await publish(hub, 1)
    await client.pushes()
    response = await poll(hub, f"/t/a?group=g&member={client.feed.session.id}")
    assert taken(response) == [(1, 2)]
    [goodbye] = await client.pushes()
    assert (goodbye["op"], goodbye["reason"]) == ("goodbye", "session_taken_over")
    assert client.socket.close_code == 4409


async def test_a_connection_takes_what_a_poll_has_not_acknowledged_in_time(hub: Hub) -> None:
    await publish(hub, 1)
    assert taken(await poll(hub, "/t/a?group=g&member=m&since=start&ack_wait=5")) == [(1, 1)]
    client = await join(hub)
    advance(hub, 6)
    hub.tick()
    [again] = await client.pushes()
    assert again["deliveries"] == 2
    with pytest.raises(NotDelivered, match="is with another member"):
        await post(hub, "ack", "g", {"member": "m", "offset": 1})


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/msgpack"])
async def test_a_page_comes_in_each_form_with_its_gap(accept: str) -> None:
    async with running_hub(keep=1) as hub:
        assert (await poll(hub, "/t/a?group=g&member=m&wait=0.001")).status == 204
        advance(hub, 11)
        hub.tick()
        await publish(hub, 1, 2)
        response = await poll(hub, "/t/a?group=g&member=m", {"Accept": accept})
        if accept == "application/msgpack":
            page = msgpack.unpackb(body_of(response))
            assert page["complete"] is False
            gap, message = page["messages"]
        else:
            gap, message = (json.loads(line) for line in body_of(response).splitlines())
            assert headers_of(response)["extra-complete"] == "false"
        assert gap == {"op": "gap", "filter": "a", "after": 0, "until": 1, "reason": "evicted", "group": "g"}
        assert (message["data"], message["group"], message["deliveries"]) == (2, "g", 1)
        assert response.content_type == accept


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("group=", "group ''"),
        ("group=g&limit=0", "parameter 'limit' is '0'"),
        ("group=g&limit=1.5", "a whole number"),
        ("group=g&wait=61", "parameter 'wait'"),
        ("group=g&member=%2F", "member '/'"),
        ("group=g&ack_wait=x", "parameter 'ack_wait' is 'x'"),
        ("group=g&ack_wait=0", "ack_wait 0: from 0.05"),
        ("group=g&max_unacknowledged=0", "parameter 'max_unacknowledged' is '0'"),
        ("group=g&max_deliveries=2", "max_deliveries and dead_letters"),
        ("group=g&session=s", "parameter 'session': not together with 'group'"),
    ],
)
async def test_a_poll_says_what_is_wrong(hub: Hub, query: str, message: str) -> None:
    with pytest.raises(InvalidCommand, match=message):
        await poll(hub, f"/t/a?{query}")
    assert hub.broker.groups.groups == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "this takes"),
        (b"[]", "this takes"),
        ({"offset": 1}, "this takes"),
        ({"member": "m"}, "either offset or offsets"),
        ({"member": "m", "offset": 1, "offsets": [1]}, "either offset or offsets"),
        ({"member": "m", "offset": 1, "delay": -1}, "delay"),
        ({"member": "m", "offsets": ["1"]}, "this takes"),
    ],
)
async def test_an_acknowledgement_says_what_is_wrong(hub: Hub, body: Any, message: str) -> None:
    await poll(hub, "/t/a?group=g&member=m")
    for path in ("ack", "nack"):
        with pytest.raises(InvalidCommand, match=message):
            await post(hub, path, "g", body)
    with pytest.raises(InvalidCommand, match="only with /nack"):
        await post(hub, "ack", "g", {"member": "m", "offset": 1, "delay": 1})
    with pytest.raises(NotFound):
        await post(hub, "ack", "h", {"member": "m", "offset": 1})


async def test_what_is_left_out_stays_as_it_was(hub: Hub) -> None:
    await publish(hub, 1)
    await poll(hub, "/t/a?group=g&member=m&ack_wait=5&order=topic&max_deliveries=2&dead_letters=d")
    hub.tick()
    await poll(hub, "/t/a?group=g&member=m&max_unacknowledged=7")
    fields = await told(hub)
    options = ("ack_wait", "order", "max_deliveries", "dead_letters", "max_unacknowledged")
    assert [fields[name] for name in options] == [5, "topic", 2, "d", 7]


async def test_a_poll_that_the_group_refuses_is_no_member(hub: Hub) -> None:
    await join(hub)
    error: type[ExtraError] = GroupConflict
    with pytest.raises(error):
        await poll(hub, "/t/b?group=g")
    assert (len(hub.open), hub.polls) == (1, 0)  # the connection's


def advance(hub: Hub, seconds: float) -> None:
    clock = hub.broker.clock
    assert isinstance(clock, FakeClock)
    clock.advance(seconds)
