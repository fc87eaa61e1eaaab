"""The daemon's own life: where it listens, what it says, and when it refuses to start."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import extra
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 20
LOOPBACK = ["127.0.0.2", *(["::1"] if Path("/proc/net/if_inet6").exists() else [])]


def refused(*options: str, **variables: str) -> tuple[int, str]:
    """Return the status with which the broker ends instead of listening, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "broker", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=environment(**variables),
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_it_runs_the_package_that_is_tested(daemon: Daemon) -> None:
    mode = "compiled" if extra.COMPILED else "interpreted"
    assert f"({mode}) listens on {daemon.url}" in str(daemon.log)
    assert f'compiled="{str(extra.COMPILED).lower()}"' in httpx.get(f"{daemon.url}/metrics").text


def test_it_says_what_is_open_to_whom(daemon: Daemon) -> None:
    told = [str(entry["message"]) for entry in daemon.log]
    assert any(line.startswith("open to: this machine only") for line in told)
    assert any("server.allow_origins" in line for line in told)
    assert any("server.allow_hosts" in line for line in told)


def test_it_ends_in_order(start: Start) -> None:
    own = start()
    own.stop()
    assert str(own.log[-1]["message"]) == "stopped"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "broker.example.org", "192.0.2.1"])
def test_it_does_not_listen_beyond_loopback_unasked(host: str) -> None:
    status, said = refused("--host", host, "--port", "0")
    assert status == 2
    assert "server.allow_anonymous" in said
    assert said.count("\n") == 1


def test_it_listens_beyond_loopback_when_told_that_anybody_may_ask(start: Start) -> None:
    own = start("--host", "0.0.0.0", "--server-allow-anonymous")
    assert httpx.get(f"http://127.0.0.1:{own.port}/healthz").status_code == 200
    assert any("anybody who can reach 0.0.0.0" in line for line in own.lines)


def test_a_port_that_is_taken_is_said(daemon: Daemon) -> None:
    status, said = refused("--port", str(daemon.port))
    assert status == 1
    assert "server.port" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--porrt", "1"), "--port"),
        (("--port", "70000"), "0 to 65535"),
        (("--server-drain-window-s", "soon"), "--server-drain-window-s"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_said(options: tuple[str, ...], said: str) -> None:
    status, told = refused(*options)
    assert status == 2
    assert said in told
    assert told.count("\n") == 1


def test_the_file_the_environment_and_the_flags_are_read_in_this_order(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[broker]\nmax_payload_bytes = 10\nbatch_limit_messages = 0\n")
    status, said = refused("--config", str(file))
    assert (status, "broker.batch_limit_messages" in said) == (2, True)
    file.write_text("[broker]\nmax_payload_bytes = 10\n[[policies]]\nfilter = 'a/#'\nmessages = 1\n")
    own = start("--config", str(file), "--retention-messages", "2")
    with httpx.Client(base_url=own.url) as http:
        assert http.post("/t/a", content=b"x" * 11).status_code == 413
        for topic, kept in (("a", 1), ("b", 2)):
            for _ in range(3):
                http.post(f"/t/{topic}", content=b"x")
            assert len(http.get(f"/t/{topic}").json()["messages"]) == kept


def test_policies_are_reloaded_on_a_signal_and_loss_is_told(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[[policies]]\nfilter = 'a'\nmessages = 3\n")
    own = start("--config", str(file))
    with httpx.Client(base_url=own.url) as http:
        cursors = [http.post("/t/a", content=b"x").json()["cursor"] for _ in range(3)]
        assert http.put("/t/a", content=b"x").status_code == 201
        file.write_text("[[policies]]\nfilter = 'a'\nmessages = 1\nmax_payload_bytes = 2\nretained = false\n")
        own.process.send_signal(signal.SIGHUP)
        own.wait_for("policy 'a': messages 1, max_payload_bytes 2, retained false, and was messages 3")
        lost = http.get("/t/a", params={"since": cursors[0]})
        assert (lost.status_code, lost.json()["after"], lost.json()["until"]) == (410, 1, 3)
        too_large = http.post("/t/a", content=b"xxx")
        assert (too_large.status_code, too_large.json()["limit"]) == (413, "policies.max_payload_bytes")
        retaining = http.put("/t/a", content=b"x")
        assert (retaining.status_code, retaining.json()["code"]) == (400, "invalid_command")
        own.expects_trouble = True
        file.write_text("[[policies]]\nfilter = 'a'\nmessages = 'x'\n")
        own.process.send_signal(signal.SIGHUP)
        own.wait_for("policies #1: messages: 'x' is not allowed")
        own.wait_for("the policies are what they were")
        assert http.post("/t/a", content=b"xxx").status_code == 413
        metrics = http.get("/metrics").text
        assert 'extra_limits_met_total{limit="policies.max_payload_bytes"} 2' in metrics


def test_without_a_file_a_hangup_ends_it() -> None:
    own = Daemon()
    own.signal(signal.SIGHUP)
    assert own.wait() == -signal.SIGHUP


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "--server-uds", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    with process:
        try:
            while "listens on" not in process.stderr.readline():
                pass
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost"
            ) as http:
                assert http.post("/t/a", content=b"x").status_code == 201
            process.terminate()
            assert process.wait(LIMIT_S) == 0
            assert not path.exists()
        finally:
            process.kill()


@pytest.mark.parametrize("host", LOOPBACK)
def test_it_listens_on_any_address_of_loopback(start: Start, host: str) -> None:
    own = start("--host", host)
    assert own.url == (f"http://[{host}]:{own.port}" if ":" in host else f"http://{host}:{own.port}")
    assert httpx.get(f"{own.url}/healthz").status_code == 200
