"""Services beside a broker that decide who may do what, and somebody who tries every way around them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.daemon import Daemon
from tests.e2e.test_ends import pushes

pytestmark = pytest.mark.e2e

APP = '''
from extra import Forbidden, Message, Request, Service, on, server


class Doors(Service):
    """Whoever says a name may go to the rooms of that name; what is said there is signed."""

    @on(SUBSCRIBE="rooms/{owner}/{rest:path}")
    async def read(self, request: Request, owner: str) -> None:
        if request.header("x-user") != owner:
            raise Forbidden(f"the rooms of {owner} are theirs")

    @on(PUBLISH="rooms/{owner}/said")
    async def say(self, request: Request, message: Message) -> Message:
        user = request.header("x-user")
        if user is None:
            raise Forbidden("say who you are")
        return message.rewritten({"by": user, "text": message.data})

    @on(PUBLISH=["rooms/{owner}/state", "audit/#"])
    def keep(self) -> bool:
        return False

    @on(SUBSCRIBE="me/inbox", quick=True)
    def inbox(self, request: Request) -> str:
        return f"users/{request.header('x-user') or 'nobody'}/inbox"

    @on(JOIN="lobby")
    async def welcome(self, member: str) -> None:
        await self.publish("greetings", f"welcome, {member}")

    @on(GET="/told")
    async def told(self, request: Request) -> dict:
        await self.publish("audit/asked", 1)     # its own: nobody is asked
        return {"told": True}


app = server(Doors)
'''


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: None) -> Iterator[Daemon]:
    with Daemon("--app", "doors:app") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stand where the application's file is."""
    folder: Path = tmp_path_factory.mktemp("doors")
    (folder / "doors.py").write_text(APP)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def http(daemon: Daemon, user: str = "") -> httpx.AsyncClient:
    headers = {"X-User": user} if user else {}
    return httpx.AsyncClient(base_url=daemon.url, timeout=20, headers=headers)


def socket(daemon: Daemon, user: str = "", path: str = "/ws") -> connect:
    headers = {"X-User": user} if user else {}
    return connect(daemon.url.replace("http", "ws") + path, additional_headers=headers)


async def ask(connection: ClientConnection, **command: Any) -> dict[str, Any]:
    """Return the answer to a command: its `subscribed`, `published`, `error` and so on."""
    await connection.send(json.dumps({"id": 1, **command}))
    while True:
        push: dict[str, Any] = json.loads(await connection.recv())
        if push.get("id") == 1:
            return push


async def test_who_may_reads_on_every_face(guarded: Daemon) -> None:
    async with http(guarded, "ada") as ada, socket(guarded, "ada") as connection:
        assert (await ada.post("/t/rooms/ada/said", content="hello")).status_code == 201
        page = (await ada.get("/t/rooms/ada/said")).json()
        assert page["messages"][-1]["data"] == {"by": "ada", "text": "hello"}
        answer = await ask(connection, op="subscribe", filter="rooms/ada/#", since="start")
        assert (answer["op"], "filter" in answer) == ("subscribed", False)
        assert (await ask(connection, op="publish", topic="rooms/ada/said", data=1))["op"] == "published"
        async with ada.stream("GET", "/sse?topic=rooms/ada/%23") as response:
            assert response.status_code == 200
        assert (await ada.get("/t/rooms/ada/said?group=g&wait=0")).status_code == 200
        assert (await ada.get("/presence/rooms/ada/said")).status_code == 200
        assert (await ada.get("/t/rooms")).status_code == 200  # which is no room of anybody


WAYS_IN = [
    "/t/rooms/ada/said",
    "/t/rooms/ada/said?since=start&wait=1",
    "/t/rooms/ada/said?since=last:5&retained=1",
    "/t/rooms/%2B/said",
    "/t/rooms/*/said",
    "/t/rooms/**",
    "/t/%23",
    "/t/%2B/ada/said",
    "/t/rooms/ada/%23",
    "/t/rooms%2Fada%2Fsaid",
    "/poll?topic=free&topic=rooms/ada/said",
    "/poll?topic=%2B/%23",
    "/sse?topic=rooms/ada/said",
    "/sse?topic=free&topic=%23",
    "/sse?topic=rooms/ada/said&group=g2",
    "/t/rooms/ada/said?group=g2",
    "/t/rooms/ada/said?session=s2",
    "/t/rooms/ada/said?presence=true&member=m",
    "/presence/rooms/ada/said",
    "/presence?topic=free&topic=rooms/%23",
    "/t/%24presence/rooms/ada/said",
    "/t/%24presence/rooms/%23",
]


@pytest.mark.parametrize("target", WAYS_IN)
@pytest.mark.parametrize("user", ["", "bob"])
async def test_a_stranger_gets_in_nowhere(guarded: Daemon, target: str, user: str) -> None:
    async with http(guarded, user) as stranger:
        for method in ("GET", "HEAD"):
            answer = await stranger.request(method, target)
            assert answer.status_code == 403, answer.text
        answer = await stranger.get(target)
        assert answer.json()["code"] == "forbidden"
    async with http(guarded) as anybody:
        assert (await anybody.get("/groups/g2")).status_code == 404
        assert (await anybody.get("/sessions/s2")).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"filter": "rooms/ada/said"},
        {"filter": ["free", "#"]},
        {"filter": "rooms/+/+", "since": "start", "replay": "all"},
        {"filter": "rooms/ada/said", "group": "g3"},
        {"filter": "rooms/ada/said", "session": "s3"},
        {"filter": "rooms/ada/said", "presence": True},
        {"filter": "$presence/rooms/ada/said"},
    ],
)
async def test_a_stranger_gets_in_by_no_command(guarded: Daemon, fields: dict[str, object]) -> None:
    async with socket(guarded, "bob") as connection, http(guarded, "ada") as ada:
        answer = await ask(connection, op="subscribe", **fields)
        assert (answer["op"], answer["code"], answer["temporary"]) == ("error", "forbidden", False)
        assert "theirs" in answer["message"]
        await ada.post("/t/rooms/ada/said", content="secret")
        assert (await ask(connection, op="ping"))["op"] == "pong"  # it lives, and has got nothing
        for each in ("/groups/g3", "/sessions/s3"):
            assert (await ada.get(each)).status_code == 404


async def test_a_stranger_gets_in_by_no_path_of_a_websocket(guarded: Daemon) -> None:
    async with socket(guarded, "bob", "/t/rooms/ada/said?since=start") as connection:
        await pushes(connection, "welcome")
        [error] = await pushes(connection, "error")
        assert error["code"] == "forbidden"
        assert (await ask(connection, op="subscribe", filter="free"))["op"] == "subscribed"


async def test_what_may_not_be_published_is_not_in_any_way(guarded: Daemon) -> None:
    async with http(guarded, "ada") as ada, socket(guarded, "ada") as connection:
        before = (await ada.get("/t/rooms/ada/state")).json()["messages"]
        topic = "/t/rooms/ada/state"
        for refused in (
            await ada.post(topic, content="x"),
            await ada.put(topic, content="x"),
            await ada.delete(topic),
            await ada.post(topic, content="x", headers={"Idempotency-Key": "k"}),
            await ada.post(topic, content="x", headers={"If-Match": "0"}),
            await ada.post(topic, content="x", headers={"Extra-Deliver-After": "1"}),
            await ada.post(topic + "?close=1", content="x"),
            await ada.post("/t/rooms%2Fada%2Fstate", content="x"),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        batch = [{"topic": "rooms/ada/state", "data": 1}, {"topic": "free", "data": 2}]
        answer = await ada.post("/publish", json=batch)
        assert answer.status_code == 207
        assert [each.get("error", {}).get("code") for each in answer.json()] == ["forbidden", None]
        for command in (
            {"op": "publish"},
            {"op": "publish", "retain": True, "key": "k2"},
            {"op": "publish", "deliver_at": 1e10},
            {"op": "close"},
        ):
            refusal = await ask(connection, topic="rooms/ada/state", data=1, **command)
            assert (refusal["op"], refusal["code"]) == ("error", "forbidden")
        assert (await ada.get("/t/rooms/ada/state")).json()["messages"] == before == []
        scheduled = (await ada.get("/scheduled")).json()["scheduled"]
        assert [each for each in scheduled if each["topic"].startswith("rooms")] == []


async def test_nothing_gets_around_a_gate_as_a_dead_letter(guarded: Daemon) -> None:
    options = {"max_deliveries": 1, "dead_letters": "audit/forged"}
    async with http(guarded, "bob") as bob, socket(guarded, "bob") as connection:
        answer = await ask(connection, op="subscribe", filter="free", group="g4", **options)
        assert (answer["op"], answer["code"]) == ("error", "forbidden")
        query = "topic=free&group=g4&max_deliveries=1&dead_letters=audit/forged"
        for target in (f"/sse?{query}", f"/poll?{query}"):
            refused = await bob.get(target)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await bob.get("/groups/g4")).status_code == 404
        answer = await ask(
            connection, op="subscribe", filter="free", group="g4", **options | {"dead_letters": "d"}
        )
        assert answer["op"] == "subscribed"  # where nobody is asked


async def test_answers_keep_the_order_of_the_commands(guarded: Daemon) -> None:
    async with socket(guarded, "ada") as connection:
        topics = ["free", "rooms/ada/state", "rooms/ada/said", "audit/x", "free"] * 20
        commands = [
            {"op": "publish", "id": number, "topic": topic, "data": number}
            for number, topic in enumerate(topics)
        ]
        await connection.send(json.dumps(commands))
        await pushes(connection, "welcome")
        answers = [json.loads(await connection.recv()) for _ in commands]
        assert [answer["id"] for answer in answers] == list(range(len(topics)))
        kinds = ["published", "error", "published", "error", "published"] * 20
        assert [answer["op"] for answer in answers] == kinds
        offsets = [answer["offset"] for answer in answers if answer["op"] == "published"]
        assert offsets == sorted(offsets)


async def test_another_filter_takes_the_place_of_one(guarded: Daemon) -> None:
    async with socket(guarded, "ada") as connection, http(guarded) as anybody:
        answer = await ask(connection, op="subscribe", filter=["me/inbox", "free"])
        assert answer["filter"] == ["users/ada/inbox", "free"]
        await anybody.post("/t/users/ada/inbox", content="1")
        [message] = await pushes(connection, "message")
        assert message["topic"] == "users/ada/inbox"
        assert (await ask(connection, op="unsubscribe", filter="users/ada/inbox"))["op"] == "unsubscribed"
        page = (await anybody.get("/t/me/inbox", headers={"X-User": "ada"})).json()
        assert [each["topic"] for each in page["messages"]] == ["users/ada/inbox"]


async def test_services_are_not_asked_about_what_they_do_themselves(guarded: Daemon) -> None:
    async with http(guarded) as anybody:
        assert (await anybody.get("/told")).json() == {"told": True}
        assert len((await anybody.get("/t/audit/asked")).json()["messages"]) == 1
        assert (await anybody.post("/t/audit/asked", content="1")).status_code == 403


async def test_a_service_hears_of_who_comes(guarded: Daemon) -> None:
    async with socket(guarded) as connection, http(guarded) as anybody:
        await ask(connection, op="subscribe", filter="greetings")
        await anybody.get("/t/lobby?presence=true&member=ada")
        [message] = await pushes(connection, "message")
        assert message["data"] == "welcome, ada"


async def test_refusals_are_counted(guarded: Daemon) -> None:
    async with http(guarded) as anybody:
        await anybody.get("/t/rooms/ada/said")
        metrics = (await anybody.get("/metrics")).text
        line = next(line for line in metrics.splitlines() if 'face="http",code="forbidden"' in line)
        assert float(line.split()[-1]) >= 1


async def test_a_burst_of_publications_of_one_connection_stays_in_order(guarded: Daemon) -> None:
    async with socket(guarded, "eve") as connection, socket(guarded, "eve") as reader:
        await ask(reader, op="subscribe", filter="rooms/eve/said")
        for number in range(300):
            command = {"op": "publish", "topic": "rooms/eve/said", "data": number}
            await connection.send(json.dumps(command))
        async with asyncio.timeout(20):
            texts: list[int] = []
            while len(texts) < 300:
                push = json.loads(await reader.recv())
                if push["op"] == "message":
                    texts.append(push["data"]["text"])
        assert texts == list(range(300))
