"""`extra-broker pub` and `sub` as Unix filters: real pipes, exit statuses, and signals that they die of."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.e2e.daemon import Daemon, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 20
Process = subprocess.Popen[bytes]
Spawn = Callable[..., Process]


@pytest.fixture
def spawn(daemon: Daemon) -> Iterator[Spawn]:
    """Starts commands on the shared broker, with pipes on all three streams."""
    with ExitStack() as stack:

        def spawn_one(*words: str) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-m", "broker", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(EXTRA_BROKER_URL=daemon.url),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield spawn_one


def run(daemon: Daemon, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *words],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
        env=environment(EXTRA_BROKER_URL=daemon.url),
    )


def published(daemon: Daemon, topic: str) -> list[object]:
    with httpx.Client(base_url=daemon.url) as http:
        return [message["data"] for message in http.get(f"/t/{topic}").json()["messages"]]


def wait_for_subscriber(daemon: Daemon, topic: str) -> None:
    """Publish to `topic` until somebody is subscribed to it."""
    with httpx.Client(base_url=daemon.url) as http:
        while http.post(f"/t/{topic}", json="first").json()["subscribers"] == 0:
            pass


def test_pub_publishes_its_argument(daemon: Daemon, topic: str) -> None:
    for data in ('{"n":1}', "text", "-1"):
        done = run(daemon, "pub", topic, "--", data)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert published(daemon, topic) == [{"n": 1}, "text", -1]


def test_pub_publishes_each_line_in_order(daemon: Daemon, topic: str) -> None:
    lines = [str(number) for number in range(90)]
    done = run(daemon, "pub", topic, stdin="\n".join(lines).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert published(daemon, topic) == list(range(90))


def test_pub_publishes_lines_as_they_come(daemon: Daemon, topic: str, spawn: Spawn) -> None:
    pub = spawn("pub", topic, "-")
    assert pub.stdin is not None
    with httpx.Client(base_url=daemon.url, timeout=LIMIT_S) as http:
        cursor = "start"
        for number in range(3):
            pub.stdin.write(b"%d\n" % number)
            pub.stdin.flush()
            page = http.get(f"/t/{topic}", params={"wait": "20", "since": cursor}).json()
            assert [message["data"] for message in page["messages"]] == [number]
            cursor = page["cursor"]
        pub.stdin.close()
        assert pub.wait(LIMIT_S) == 0


def test_pub_tells_of_the_line_that_was_refused_and_goes_on(daemon: Daemon, topic: str) -> None:
    done = run(daemon, "pub", topic, "--json", stdin=b"1\nnot JSON\n3\n")
    assert done.returncode == 1
    assert b"line 2: " in done.stderr
    assert published(daemon, topic) == [1, 3]


def test_sub_prints_what_comes(daemon: Daemon, topic: str, spawn: Spawn) -> None:
    sub = spawn("sub", f"{topic}/#")
    assert sub.stdout is not None
    wait_for_subscriber(daemon, f"{topic}/a")
    first = json.loads(sub.stdout.readline())
    assert (first["op"], first["topic"], first["data"]) == ("message", f"{topic}/a", "first")
    run(daemon, "pub", f"{topic}/b", "[1]")
    while json.loads(line := sub.stdout.readline())["topic"] == f"{topic}/a":
        pass
    assert json.loads(line)["data"] == [1]


@pytest.mark.parametrize(
    ("form", "output"), [("raw", b"1\ntext\n\xff\xfe\n"), ("data", b'1\n"text"\n"//4="\n')]
)
def test_sub_ends_after_so_many(daemon: Daemon, topic: str, form: str, output: bytes) -> None:
    for data in (b"1", b"text", b"\xff\xfe"):
        run(daemon, "pub", topic, stdin=data)
    done = run(daemon, "sub", topic, "--since", "start", "--count", "3", "--format", form)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, b"")


def test_sub_shares_and_remembers(daemon: Daemon, topic: str, spawn: Spawn) -> None:
    name = topic.replace("/", "-")
    for number in range(5):
        assert run(daemon, "pub", topic, str(number)).returncode == 0
    printed = []
    for option in ("--session", "--group"):
        words = ("sub", topic, option, name, "--since", "start", "--format", "data", "--count", "2")
        printed += [run(daemon, *words).stdout for _ in range(2)]
    assert printed == [b"0\n1\n", b"2\n3\n"] * 2
    with httpx.Client(base_url=daemon.url) as http:
        session, group = http.get(f"/sessions/{name}").json(), http.get(f"/groups/{name}").json()
    assert (session["lag"], group["unacknowledged"]) == (group["lag"], 0)
    refused = run(daemon, "sub", topic, "--group", name, "--session", name)
    assert (refused.returncode, b"--group: not together" in refused.stderr) == (2, True)


def test_they_work_in_a_pipeline(daemon: Daemon, topic: str) -> None:
    extra_broker = f"{shlex.quote(sys.executable)} -m broker"
    script = (
        f"seq 1 90 | {extra_broker} pub {topic} & "
        f"{extra_broker} sub {topic} --since start --count 90 --format raw | tail -n 1; wait"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
        env=environment(EXTRA_BROKER_URL=daemon.url),
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"90")


# How they end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pub_dies_of_signals(daemon: Daemon, topic: str, spawn: Spawn, number: signal.Signals) -> None:
    pub = spawn("pub", topic)
    assert pub.stdin is not None
    pub.stdin.write(b"1\n")
    pub.stdin.flush()
    with httpx.Client(base_url=daemon.url, timeout=LIMIT_S) as http:
        assert http.get(f"/t/{topic}?wait=20").status_code == 200
    pub.send_signal(number)
    assert pub.wait(LIMIT_S) == -number
    assert pub.stderr is not None
    assert pub.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sub_dies_of_signals(daemon: Daemon, topic: str, spawn: Spawn, number: signal.Signals) -> None:
    sub = spawn("sub", topic)
    wait_for_subscriber(daemon, topic)
    sub.send_signal(number)
    assert sub.wait(LIMIT_S) == -number
    assert sub.stderr is not None
    assert sub.stderr.read() == b""


def test_sub_dies_when_nobody_reads_any_more(daemon: Daemon, topic: str, spawn: Spawn) -> None:
    """As `cat` does: of SIGPIPE, and without waiting for something to write."""
    sub = spawn("sub", topic)
    wait_for_subscriber(daemon, topic)
    assert sub.stdout is not None
    assert sub.stdout.readline()
    sub.stdout.close()
    assert sub.wait(LIMIT_S) == -signal.SIGPIPE
    assert sub.stderr is not None
    assert sub.stderr.read() == b""


def test_a_signal_that_is_ignored_stays_so(daemon: Daemon, topic: str) -> None:
    """`nohup` and `command &` in a script: SIGINT is not for them."""
    with subprocess.Popen(
        [sys.executable, "-m", "broker", "sub", topic, "--count", "2"],
        stdout=subprocess.PIPE,
        env=environment(EXTRA_BROKER_URL=daemon.url),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as sub:
        try:
            wait_for_subscriber(daemon, topic)
            sub.send_signal(signal.SIGINT)
            run(daemon, "pub", topic, "2")
            assert sub.wait(LIMIT_S) == 0
        finally:
            sub.kill()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("pub",), 2, b"TOPIC"),
        (("pub", "a/+", "x"), 2, b"wildcard"),
        (("sub",), 2, b"FILTER"),
        (("sub", "a/#/b"), 2, b"has to be the last"),
        (("sub", "a", "--since", "soon"), 2, b"since"),
        (("sub", "a", "--sincee", "now"), 2, b"--since"),
        (("serv",), 2, b"serve"),
        (("pub", "$x", "1"), 1, b"$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    daemon: Daemon, words: tuple[str, ...], status: int, said: bytes
) -> None:
    done = run(daemon, *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.startswith(b"extra-broker: ")
    assert done.stderr.count(b"\n") == 1
    assert said in done.stderr


def test_a_broker_that_is_not_there_is_said_in_one_line(daemon: Daemon) -> None:
    for words in (("pub", "a", "1"), ("sub", "a")):
        done = run(daemon, *words, "--url", "http://127.0.0.1:1")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"extra-broker: ")
        assert done.stderr.count(b"\n") == 1


def test_help_is_on_standard_output(daemon: Daemon) -> None:
    for words in (("--help",), ("pub", "--help"), ("sub", "-h"), ("--version",)):
        done = run(daemon, *words)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"extra-broker" in done.stdout
