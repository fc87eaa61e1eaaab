"""What operators see: metrics that follow, limits that are counted, and a log without payloads."""

import json
import re
from contextlib import ExitStack

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.raw import Raw, handshake

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STREAM = b"GET /sse?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n"


def metrics(daemon: Daemon) -> dict[str, float]:
    with httpx.Client(base_url=daemon.url) as http:
        text = http.get("/metrics").text
    return {
        name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


def test_metrics_follow_the_traffic(start: Start) -> None:
    own = start("--retention-messages", "2")
    with ExitStack() as stack, httpx.Client(base_url=own.url) as http:
        socket, stream = stack.enter_context(Raw(own.port)), stack.enter_context(Raw(own.port))
        socket.send(handshake("/t/a"))
        stream.send(STREAM)
        for raw in (socket, stream):
            raw.read(1)
        for number in range(3):
            assert http.post("/t/a", json=number).json()["subscribers"] == 2
        http.put("/t/b", content=b"xyz", headers={"Idempotency-Key": "k"})
        http.get("/t/a?since=now")
        http.post("/t/+", content=b"x")
        found = metrics(own)
    expected = {
        "extra_sessions": 2,
        "extra_subscriptions": 2,
        "extra_filters": 1,
        "extra_messages_published_total": 4,
        "extra_published_bytes_total": 6,
        "extra_deliveries_total": 6,
        "extra_log_messages": 3,
        "extra_log_topics": 2,
        "extra_log_evicted_total": 1,
        "extra_retained_messages": 1,
        "extra_idempotency_keys": 1,
        'extra_connections{kind="websocket"}': 1,
        'extra_connections{kind="sse"}': 1,
        'extra_requests_total{method="POST",status="201"}': 3,
        'extra_requests_total{method="PUT",status="201"}': 1,
        'extra_requests_total{method="POST",status="400"}': 1,
        "extra_handler_failures_total": 0,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["extra_received_bytes_total"] > 500
    assert found["extra_encodings_total"] >= 6


def test_a_message_is_encoded_once_for_all(start: Start) -> None:
    own = start()
    with ExitStack() as stack, httpx.Client(base_url=own.url) as http:
        for _ in range(20):
            raw = stack.enter_context(Raw(own.port))
            raw.send(handshake("/t/a"))
            raw.read(1)
        before = metrics(own)
        assert http.post("/t/a", json=1).json()["subscribers"] == 20
        after = metrics(own)
    assert after["extra_encodings_total"] - before["extra_encodings_total"] == 1
    assert after["extra_deliveries_total"] - before["extra_deliveries_total"] == 20


def test_connections_beyond_the_limit_are_refused_and_counted(start: Start) -> None:
    own = start("--server-connections-limit", "3")
    with ExitStack() as stack:
        for _ in range(3):
            raw = stack.enter_context(Raw(own.port))
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.answer().status == 200
        one_more = stack.enter_context(Raw(own.port))
        answer = one_more.answer()
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "limit_exceeded")
        assert int(answer.headers["retry-after"]) > 0
    assert metrics(own)["extra_connections_refused_total"] == 1


@pytest.mark.parametrize(
    ("option", "limit", "setting"),
    [
        ("--broker-retained-limit-messages", "1", "broker.retained_limit_messages"),
        ("--broker-retained-limit-bytes", "600", "broker.retained_limit_bytes"),
    ],
)
def test_what_cannot_be_retained_is_refused_by_name(
    start: Start, option: str, limit: str, setting: str
) -> None:
    own = start(option, limit)
    with httpx.Client(base_url=own.url) as http:
        assert http.put("/t/a", content=b"x").status_code == 201
        refused = http.put("/t/b", content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (413, "limit_exceeded")
        assert setting in refused.json()["detail"]
        assert http.put("/t/a", content=b"y").status_code == 201
    assert metrics(own)["extra_retained_messages"] == 1


def test_the_log_is_bounded(start: Start) -> None:
    own = start("--retention-total-limit-bytes", "100000")
    with httpx.Client(base_url=own.url) as http:
        for number in range(20):
            http.post(f"/t/{number}", content=b"x" * 10_000)
    found = metrics(own)
    assert 50_000 < found["extra_log_bytes"] <= found["extra_log_limit_bytes"] == 100_000
    assert found["extra_log_evicted_total"] == 20 - found["extra_log_messages"]


# The log

SECRET = "in-nobodys-log"


def test_the_log_never_has_payloads_or_tokens(start: Start) -> None:
    own = start("--log-level", "debug", "--log-access")
    with httpx.Client(base_url=own.url) as http, Raw(own.port) as socket:
        http.post("/t/a?token=" + SECRET, content=SECRET.encode())
        http.post("/t/a", json={"x": SECRET}, headers={"Authorization": f"Bearer {SECRET}"})
        http.post("/publish", json=[{"topic": "a", "data": SECRET}, {"topic": "a/+", "data": SECRET}])
        http.post("/t/a", content=f'{{"{SECRET}'.encode(), headers={"Content-Type": "application/json"})
        http.post("/t/a", content=SECRET.encode(), headers={"Content-Encoding": "gzip"})
        http.get("/t/a")
        socket.send(handshake("/t/a?since=start") + b"\x81\x80\x00\x00\x00\x00")
        socket.read(1)
    own.stop()
    lines = [line for line in own.lines if line]
    assert not [line for line in lines if SECRET in line]
    entries = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
    requests = [entry for entry in entries if "client" in entry]
    assert [entry["message"] for entry in requests][:2] == ["POST /t/a?token=*** 201", "POST /t/a 201"]
    assert all(entry["client"].startswith("127.0.0.1:") and entry["ms"] >= 0 for entry in requests)


def test_a_request_is_logged_only_when_asked_for(start: Start) -> None:
    own = start()
    httpx.post(f"{own.url}/t/a", content=b"x")
    own.stop()
    assert not [line for line in own.lines if "/t/a" in line]
