"""Who may ask: pages of foreign origins, rebound names, and the allow-lists that let them."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.raw import exchange, handshake

pytestmark = pytest.mark.e2e

APP = "https://app.example.org"
EVIL = "https://evil.example.org"


@pytest.fixture(scope="module")
def open_daemon() -> Iterator[Daemon]:
    """A broker that knows one foreign origin and one name."""
    options = ("--server-allow-origins", f"{APP},http://other.example.org:8000")
    with Daemon(*options, "--server-allow-hosts", "broker.example.org") as daemon:
        yield daemon


def test_a_foreign_page_may_not_publish(daemon: Daemon, topic: str) -> None:
    with httpx.Client(base_url=daemon.url) as http:
        for origin in (EVIL, "null", "http://127.0.0.1:1", f"https://127.0.0.1:{daemon.port}0"):
            for method in ("POST", "PUT", "DELETE"):
                response = http.request(method, f"/t/{topic}", headers={"Origin": origin})
                assert (response.status_code, response.json()["code"]) == (403, "forbidden")
                assert "server.allow_origins" in response.json()["detail"]
            assert http.post("/publish", json=[], headers={"Origin": origin}).status_code == 403
        assert http.get(f"/t/{topic}").json()["messages"] == []


def test_a_foreign_page_may_not_open_a_websocket(daemon: Daemon) -> None:
    for target in ("/ws", "/t/a"):
        answer = exchange(daemon.port, handshake(target, f"Origin: {EVIL}"))
        assert answer.status == 403
        both = handshake(target, f"Origin: {EVIL}").replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket")
        assert exchange(daemon.port, both).status == 403


def test_a_foreign_page_does_not_see_what_it_reads(daemon: Daemon) -> None:
    with httpx.Client(base_url=daemon.url) as http:
        for path in ("/t/a", "/metrics", "/"):
            headers = http.get(path, headers={"Origin": EVIL}).headers
            assert not [name for name in headers if name.startswith("access-control")]


def test_the_brokers_own_page_may_do_everything(daemon: Daemon, topic: str) -> None:
    with httpx.Client(base_url=daemon.url) as http:
        response = http.post(f"/t/{topic}", content=b"x", headers={"Origin": daemon.url})
        assert response.status_code == 201
    own = f"Origin: http://127.0.0.1:{daemon.port}"
    request = handshake("/ws", own).replace(b"Host: 127.0.0.1", f"Host: 127.0.0.1:{daemon.port}".encode())
    assert exchange(daemon.port, request).status == 101


@pytest.mark.parametrize("origin", [APP, "http://other.example.org:8000"])
def test_an_allowed_page_may_do_everything_and_see_the_cursor(open_daemon: Daemon, origin: str) -> None:
    with httpx.Client(base_url=open_daemon.url, headers={"Origin": origin}) as http:
        for response in (
            http.post("/t/a", content=b"x"),
            http.get("/t/a"),
            http.get("/t/a?since=e1-999"),
            http.get("/nothing"),
            http.post("/t/a", headers={"Content-Encoding": "gzip"}),
        ):
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert "Extra-Cursor" in response.headers["Access-Control-Expose-Headers"]
            assert "Origin" in response.headers["Vary"]
        with http.stream("GET", "/sse?topic=a") as stream:
            assert stream.headers["Access-Control-Allow-Origin"] == origin
        asked = {
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type, idempotency-key",
        }
        preflight = http.options("/t/a", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == origin
        assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Headers"] == "content-type, idempotency-key"
    assert exchange(open_daemon.port, handshake("/ws", f"Origin: {origin}")).status == 101


def test_who_is_not_on_the_list_is_a_stranger(open_daemon: Daemon) -> None:
    with httpx.Client(base_url=open_daemon.url, headers={"Origin": EVIL}) as http:
        assert http.post("/t/a", content=b"x").status_code == 403
        preflight = http.options("/t/a", headers={"Access-Control-Request-Method": "PUT"})
        assert "Access-Control-Allow-Origin" not in preflight.headers


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.evil.example.org:8080", "127.0.0.1.nip.io"])
def test_a_rebound_name_is_refused(daemon: Daemon, host: str) -> None:
    """DNS rebinding: also reads, the console and WebSockets."""
    for request in (
        f"GET /t/a HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET http://{host}/t/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"POST /t/a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx",
        handshake().decode().replace("Host: 127.0.0.1", f"Host: {host}"),
    ):
        answer = exchange(daemon.port, request.encode())
        assert answer.status == 403
        assert b"server.allow_hosts" in answer.body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]", "app.localhost"])
def test_addresses_and_localhost_are_taken(daemon: Daemon, host: str) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    assert exchange(daemon.port, request).status == 200


def test_a_name_that_is_allowed_is_taken(open_daemon: Daemon) -> None:
    for host, status in (("broker.example.org", 200), ("BROKER.example.org:80", 200), ("example.org", 403)):
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        assert exchange(open_daemon.port, request).status == status
