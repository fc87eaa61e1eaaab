"""The broker as an ASGI application."""

import json

import pytest

import broker
from broker.hosting import asgi
from broker.settings import Settings
from extra.pubsub import Broker
from tests.fakes.asgi import FakeHost, lifespan, until

HOST = {"host": "localhost"}


async def test_faces_answer_under_a_host() -> None:
    application = asgi()
    host = await lifespan(application)
    published = FakeHost(
        application,
        target="/t/a/b",
        method="POST",
        headers={**HOST, "content-length": "2"},
        give=({"type": "http.request", "body": b"{}"},),
    )
    await published.task
    assert published.status == 201
    read = FakeHost(application, target="/t/a/b", headers=HOST)
    await read.task
    assert [message["data"] for message in json.loads(read.body)["messages"]] == [{}]
    host.give({"type": "lifespan.shutdown"})
    await host.task
    late = FakeHost(application, target="/t/a/b", headers=HOST)
    await late.task
    assert late.status == 503


async def test_broker_of_the_caller_is_used_and_left_open() -> None:
    async with Broker() as own:
        application = asgi(own)
        await own.publish("a", 1)
        read = FakeHost(application, target="/t/a", headers=HOST)  # which starts it
        await read.task
        assert [message["data"] for message in json.loads(read.body)["messages"]] == [1]
        await application.stop()
        await own.publish("a", 2)


async def test_streams_say_goodbye_when_the_host_shuts_down() -> None:
    async with Broker() as own:
        application = asgi(own)
        events = FakeHost(application, target="/t/a", headers={**HOST, "accept": "text/event-stream"})
        await until(lambda: events.body)
        socket = FakeHost(
            application, "websocket", "/ws", headers=HOST, give=({"type": "websocket.connect"},)
        )
        await until(lambda: len(socket.sent) == 2)
        assert json.loads(socket.sent[1]["text"])["op"] == "welcome"
        await own.publish("a", {"n": 1})
        await until(lambda: b'"n":1' in events.body)
        application.drain()
        await events.task
        await socket.task
        assert b"event: goodbye" in events.body
        assert events.is_complete
        assert json.loads(socket.sent[-2]["text"])["op"] == "goodbye"
        assert socket.sent[-1]["type"] == "websocket.close"
        await application.stop()


async def test_strangers_are_refused_by_the_names_that_are_allowed() -> None:
    application = asgi(
        settings=Settings(), allow_hosts=["example.org"], allow_origins=["https://page.example"]
    )
    for headers, status in (
        ({"host": "example.org"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost", "origin": "https://page.example"}, 200),
    ):
        call = FakeHost(application, target="/healthz", headers=headers)
        await call.task
        assert call.status == status
    await application.stop()


def test_package_has_it_at_hand() -> None:
    assert broker.asgi is asgi
    with pytest.raises(AttributeError, match="nothing"):
        _ = broker.nothing
