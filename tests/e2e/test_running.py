"""The options of `extra run`, each by its effect on a process that was started with it."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.e2e.daemon import END_LIMIT_S, environment
from tests.e2e.running import Running

pytestmark = pytest.mark.e2e

APPLICATION = """
import asyncio, json, os
from extra import Request, Service, Socket, on, server

class Telling(Service):
    @on(GET="/")
    async def tell(self, request: Request) -> object:
        return {"client": request.client, "scheme": request.scheme, "pid": os.getpid(),
                "variable": os.environ.get("TOLD_BY_FILE")}

    @on(WEBSOCKET="/echo")
    async def echo(self, socket: Socket) -> None:
        async for message in socket:
            await socket.send(message)

app = server(Telling)

def make():
    return app

async def raw(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print_to_log("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return
    body = json.dumps([scope["root_path"], scope["path"], scope["scheme"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

def print_to_log(text):
    import logging
    logging.getLogger("extra.telling").info(text)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "telling.py").write_text(APPLICATION)
    return tmp_path


@contextmanager
def asked(
    running: Running, path: str = "/", headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=END_LIMIT_S)
    try:
        connection.request("GET", path, headers=headers or {})
        yield connection.getresponse()
    finally:
        connection.close()


def tell(running: Running, **headers: str) -> dict[str, object]:
    with asked(running, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer:
        assert answer.status == 200
        told: dict[str, object] = json.loads(answer.read())
        return told


def complaint(folder: Path, *words: str) -> str:
    """Return what is said of options that are not taken."""
    done = subprocess.run(
        [sys.executable, "-m", "extra", "run", "telling:app", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=END_LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_tls(folder: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    for index, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "cert.pem"), append=index > 0)
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    mine = authority.issue_cert("me@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(str(folder / "mine.pem"))
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    words = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem", "--ssl-version", "1.3")
    proof = ("--ssl-cert-reqs", "required", "--ssl-ca-certs", "ca.pem")
    for more in ((), proof):
        with Running("telling:app", "--port", "0", *words, *more, cwd=folder) as running:
            assert running.url.startswith("https://")
            if more:
                with pytest.raises(OSError, match=r"certificate required|EOF|reset|closed"):
                    fetch_securely(running.port, context)
                context.load_cert_chain(folder / "mine.pem")
            told = fetch_securely(running.port, context)
            assert told["scheme"] == "https"
            with connect(f"wss://127.0.0.1:{running.port}/echo", ssl=context) as websocket:
                websocket.send("x" * 100_000)
                assert websocket.recv() == "x" * 100_000


def fetch_securely(port: int, context: ssl.SSLContext) -> dict[str, object]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=END_LIMIT_S, context=context)
    try:
        connection.request("GET", "/")
        told: dict[str, object] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


def test_key_with_a_password_and_ciphers(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (folder / "key.pem").write_bytes(encrypted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
    words = ["--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem"]
    secret = ["--ssl-keyfile-password", "secret", "--ssl-ciphers", cipher]
    with (
        Running("telling:app", "--port", "0", *words, *secret, cwd=folder) as running,
        socket.create_connection(("127.0.0.1", running.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        chosen = secured.cipher()
        assert chosen is not None
        assert chosen[0] == cipher
    assert "--ssl-certfile" in complaint(folder, *words, "--ssl-keyfile-password", "wrong")
    assert "--ssl-ciphers" in complaint(folder, *words, *secret[:2], "--ssl-ciphers", "none")
    assert "--ssl-certfile" in complaint(folder, "--ssl-certfile", "nowhere.pem")
    assert "--ssl-keyfile" in complaint(folder, "--ssl-keyfile", "key.pem")


def test_descriptor_of_a_socket(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        with Running("telling:app", "--fd", str(fd), cwd=folder, pass_fds=[fd]) as running:
            assert running.port == listening.getsockname()[1]
            assert tell(running)["pid"] == running.process.pid


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unix_socket(folder: Path, workers: str) -> None:
    with Running("telling:app", "--uds", "s", "--workers", workers, cwd=folder) as running:
        running.wait_for("on unix:")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(folder / "s"))
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert peer.recv(65_536).startswith(b"HTTP/1.1 200")
    assert not (folder / "s").exists()


def test_client_is_the_one_that_a_trusted_proxy_has_seen(folder: Path) -> None:
    with Running("telling:app", "--port", "0", cwd=folder) as running:
        told = tell(running, X_Forwarded_For="6.6.6.6, 192.0.2.7, 127.0.0.1", X_Forwarded_Proto="https")
        assert (told["client"], told["scheme"]) == ("192.0.2.7:0", "https")
        running.wait_for("192.0.2.7:0")  # in the access log too
    for words in (["--forwarded-allow-ips", "192.0.2.0/24"], ["--no-proxy-headers"]):
        with Running("telling:app", "--port", "0", *words, cwd=folder) as running:
            told = tell(running, X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
            assert str(told["client"]).startswith("127.0.0.1:")
            assert told["scheme"] == "http"
    assert "--forwarded-allow-ips" in complaint(folder, "--forwarded-allow-ips", "everybody")


def test_header_fields(folder: Path) -> None:
    with (
        Running("telling:app", "--port", "0", "--header", "X-One: a:b", cwd=folder) as running,
        asked(running) as answer,
    ):
        assert (answer.headers["server"], answer.headers["x-one"]) == ("extra", "a:b")
        assert answer.headers["date"]
    words = ("--no-server-header", "--no-date-header", "--no-access-log")
    with Running("telling:app", "--port", "0", *words, cwd=folder) as running, asked(running) as answer:
        assert answer.headers["server"] is answer.headers["date"] is None
    assert not running.count('"GET /')


def test_connections_beyond_the_limit_are_answered_503(folder: Path) -> None:
    with (
        Running("telling:app", "--port", "0", "--limit-concurrency", "1", cwd=folder) as running,
        connect(f"ws://127.0.0.1:{running.port}/echo"),
        asked(running) as answer,
    ):
        assert answer.status == 503
        assert "--limit-concurrency=1" in answer.read().decode()


def test_ends_by_itself_after_so_many_requests(folder: Path) -> None:
    with Running("telling:app", "--port", "0", "--limit-max-requests", "2", cwd=folder) as running:
        tell(running)
        tell(running)
        assert running.process.wait(END_LIMIT_S) == 0


def test_idle_connection_ends(folder: Path) -> None:
    with (
        Running("telling:app", "--port", "0", "--timeout-keep-alive", "0.1", cwd=folder) as running,
        socket.create_connection(("127.0.0.1", running.port), END_LIMIT_S) as peer,
    ):
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with peer.makefile("rb") as answer:
            assert b"200" in answer.read()  # to the end of the connection


def test_largest_message_of_a_websocket(folder: Path) -> None:
    with (
        Running("telling:app", "--port", "0", "--ws-max-size", "1000", cwd=folder) as running,
        connect(f"ws://127.0.0.1:{running.port}/echo") as websocket,
    ):
        websocket.send("x" * 1000)
        assert len(websocket.recv()) == 1000
        websocket.send("x" * 1001)
        with pytest.raises(ConnectionClosedError, match="--ws-max-size"):
            websocket.recv()


def test_peer_that_does_not_answer_a_ping_is_closed(folder: Path) -> None:
    words = ("--ws-ping-interval", "0.1", "--ws-ping-timeout", "0.1")
    with (
        Running("telling:app", "--port", "0", *words, cwd=folder) as running,
        socket.create_connection(("127.0.0.1", running.port), END_LIMIT_S) as peer,
    ):
        peer.sendall(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        with peer.makefile("rb") as answer:
            while answer.readline().strip():
                pass
            assert answer.read(2) == b"\x89\x00"
            assert answer.read(2)[0] == 0x88
            assert int.from_bytes(answer.read(2)) == 4408


def test_variables_from_a_file(folder: Path) -> None:
    (folder / "some.env").write_text("TOLD_BY_FILE='a b'\n")
    with Running("telling:app", "--port", "0", "--env-file", "some.env", cwd=folder) as running:
        assert tell(running)["variable"] == "a b"
    given = {"TOLD_BY_FILE": "mine"}
    with Running(
        "telling:app", "--port", "0", "--env-file", "some.env", cwd=folder, variables=given
    ) as running:
        assert tell(running)["variable"] == "mine"
    assert "--env-file" in complaint(folder, "--env-file", "nowhere.env")


def test_log_as_a_file_says(folder: Path) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"own": {"format": "OWN %(name)s %(message)s"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "own"}},
        "root": {"handlers": ["out"], "level": "INFO"},
    }
    (folder / "log.json").write_text(json.dumps(config))
    with Running("telling:app", "--port", "0", "--log-config", "log.json", cwd=folder) as running:
        tell(running)
        running.wait_for("OWN extra.access 127.0.0.1:")
    (folder / "bad.json").write_text("{}")
    assert "--log-config" in complaint(folder, "--log-config", "bad.json")
    assert "--log-config" in complaint(folder, "--log-config", "nowhere.ini")


def test_level_of_the_log(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        words = ("--fd", str(fd), "--log-level", "error")
        with Running("telling:app", *words, cwd=folder, pass_fds=[fd]) as running:
            connection = http.client.HTTPConnection(
                "127.0.0.1", listening.getsockname()[1], timeout=END_LIMIT_S
            )
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
        assert running.lines == [""]


def test_application_of_others_its_lifespan_and_its_root(folder: Path) -> None:
    words = ("--lifespan", "on", "--root-path", "/sub", "--interface", "asgi3", "--loop", "asyncio")
    with Running("telling:raw", "--port", "0", *words, cwd=folder) as running:
        running.wait_for("started")
        with asked(running, "/x") as answer:
            assert json.loads(answer.read()) == ["/sub", "/sub/x", "http"]
    with Running("telling:raw", "--port", "0", "--lifespan", "off", cwd=folder) as running:
        assert running.url
    assert not running.count("started")


def test_factory_in_another_directory(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    words = ("--factory", "--app-dir", str(folder), "--port", "0")
    with Running("telling:make", *words, cwd=elsewhere) as running:
        assert tell(running)["pid"] == running.process.pid


def test_values_that_are_not_allowed_name_their_option(folder: Path) -> None:
    assert "--port: 70000" in complaint(folder, "--port", "70000")
    assert "--workers: 0" in complaint(folder, "--workers", "0")
    assert "--timeout-keep-alive: nan" in complaint(folder, "--timeout-keep-alive", "nan")
    assert "--log-level" in complaint(folder, "--log-level", "loud")
    assert "--header" in complaint(folder, "--header", "a b:c")


def test_workers_share_a_socket_and_are_replaced(folder: Path) -> None:
    with Running("telling:app", "--port", "0", "--workers", "2", cwd=folder) as running:
        assert running.url
        pids = {tell(running)["pid"] for _ in range(3)}
        assert running.process.pid not in pids
        victim = pids.pop()
        assert isinstance(victim, int)
        os.kill(victim, signal.SIGKILL)
        running.wait_for(f"worker {victim} has ended (SIGKILL)")
        running.wait_for("serves", times=4)
        assert tell(running)["pid"] != victim


def test_workers_end_with_a_parent_that_was_killed(folder: Path) -> None:
    running = Running("telling:app", "--port", "0", "--workers", "2", cwd=folder)
    assert running.url
    running.process.kill()
    running.process.wait(END_LIMIT_S)
    running.wait_for("stopped", times=2)
    with pytest.raises(ChildProcessError, match="ended"), running:
        raise ChildProcessError("it was killed, and has ended")


def test_workers_whose_application_does_not_start_end_it_all(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "extra", "run", "telling:nothing", "--port", "0", "--workers", "2"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=END_LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no 'nothing' in 'telling'" in done.stderr


def test_one_request_without_a_server(folder: Path) -> None:
    def request(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "extra", "request", *words],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=END_LIMIT_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    status, output, _ = request("telling:app", "GET", "/", "-i")
    head, _, body = output.partition("\n\n")
    assert status == 0
    assert head.startswith("200 OK\nContent-Type: application/json\n")
    assert json.loads(body)["scheme"] == "http"
    status, output, _ = request("telling:app", "POST", "/", "--body", "{}")
    assert (status, json.loads(output)["code"]) == (1, "method_not_allowed")
    assert request("telling:raw", "GET", "/a%20b?c")[1] == '["", "/a b", "http"]'
    status, output, errors = request("telling:app", "GET", "nowhere")
    assert (status, output) == (2, "")
    assert "PATH: 'nowhere'" in errors


@pytest.mark.parametrize("workers", [1, 2])
def test_in_code_the_names_are_the_same(folder: Path, workers: int) -> None:
    (folder / "started.py").write_text(
        "import extra\n"
        'if __name__ == "__main__":\n'
        f"    raise SystemExit(extra.run('telling:app', port=0, workers={workers}, server_header=False,\n"
        "        headers=[('X-One', '1')], limit_concurrency=5, access_log=False))\n"
    )
    with (
        Running(cwd=folder, command=("started",), variables={"PYTHONSAFEPATH": ""}) as running,
        asked(running) as answer,
    ):
        assert (answer.headers["server"], answer.headers["x-one"]) == (None, "1")
    assert not running.count('"GET /')
