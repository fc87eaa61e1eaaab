"""The example of rooms: beside the broker, with clients of both."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples" / "services"


def test_services_serve_beside_the_broker(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    own = start("--app", "rooms:app")
    with (
        httpx.Client(base_url=own.url) as http,
        websockets.sync.client.connect(f"ws://127.0.0.1:{own.port}/rooms/7/talk") as talking,
        http.stream("GET", "/t/rooms/%2B/said", headers={"accept": "text/event-stream"}) as events,
    ):
        lines = events.iter_lines()
        next(lines)
        assert http.post("/rooms/7/say", json={"text": "hello"}).json() == {"offset": 1}
        assert json.loads(talking.recv()) == {"text": "hello"}
        talking.send("and hello")
        assert json.loads(talking.recv()) == {"text": "and hello"}
        data = [json.loads(line[5:]) for line in _until(lines, "and hello") if line.startswith("data:")]
        assert [each["data"]["text"] for each in data] == ["hello", "and hello"]
        assert http.get("/rooms/7/heard").json() == 2
        assert http.get("/rooms/x/heard").status_code == 404
        assert http.post("/t/rooms/7/said", json={"text": "by the broker"}).status_code == 201
        assert json.loads(talking.recv()) == {"text": "by the broker"}
        assert "console" in http.get("/").text


def _until(lines: Iterator[str], last: str) -> list[str]:
    found = []
    for line in lines:
        found.append(line)
        if last in line:
            break
    return found


def test_application_that_is_not_there_is_told() -> None:
    with pytest.raises(ChildProcessError, match=r"there is no module .*nowhere_at_all.*server\.app"):
        Daemon("--app", "nowhere_at_all:app")
