"""What the README shows: a broker is used with nothing but curl."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest

from extra.payloads import JSONValue
from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.e2e

LIMIT_S = 20


def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    """Return what curl prints; it fails the test when it fails."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(LIMIT_S), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LIMIT_S + 5,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run curl beside the test, unbuffered."""
    process = subprocess.Popen(
        ["curl", "--silent", "--no-buffer", "--max-time", str(LIMIT_S), *arguments], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fields_of(output: bytes) -> dict[str, JSONValue]:
    fields: dict[str, JSONValue] = json.loads(output)
    return fields


def offsets(output: bytes) -> list[int]:
    return [message["offset"] for message in json.loads(output)["messages"]]


def test_publishing_and_reading(daemon: Daemon, topic: str) -> None:
    receipt = fields_of(curl("-d", '{"celsius":21}', f"{daemon.url}/t/{topic}"))
    assert receipt["topic"] == topic
    page = fields_of(curl(f"{daemon.url}/t/{topic}"))
    assert page["messages"] == [
        {"op": "message", "topic": topic, "offset": receipt["offset"], "data": {"celsius": 21}}
    ]
    assert page["cursor"] == receipt["cursor"]


def test_text_and_files_are_published_as_what_they_are(daemon: Daemon, topic: str, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x00")
    curl("-d", "hello", f"{daemon.url}/t/{topic}")
    curl(
        "-H",
        "Content-Type: image/png",
        "--data-binary",
        f"@{tmp_path / 'picture'}",
        f"{daemon.url}/t/{topic}",
    )
    first, second = json.loads(curl(f"{daemon.url}/t/{topic}"))["messages"]
    assert first["data"] == "hello"
    assert (second["data_base64"], second["content_type"]) == ("iVBORw0KAA==", "image/png")


def test_putting_retains_and_deleting_clears(daemon: Daemon, topic: str) -> None:
    curl("-X", "PUT", "-d", "on", f"{daemon.url}/t/{topic}/lamp")
    now = f"{daemon.url}/t/{topic}/*?since=now"
    assert [message["data"] for message in json.loads(curl(now))["messages"]] == ["on"]
    assert curl("-X", "DELETE", "-o", "-", "-w", "%{http_code}", f"{daemon.url}/t/{topic}/lamp") == b"204"
    assert json.loads(curl(now))["messages"] == []


def test_a_long_poll_waits_for_a_message(daemon: Daemon, topic: str) -> None:
    cursor = fields_of(curl(f"{daemon.url}/t/{topic}"))["cursor"]
    with running(f"{daemon.url}/t/{topic}?wait=20&since={cursor}") as poll:
        receipt = fields_of(curl("-d", "1", f"{daemon.url}/t/{topic}"))
        output, _ = poll.communicate(timeout=LIMIT_S)
    assert offsets(output) == [receipt["offset"]]


@pytest.mark.slow
def test_a_long_poll_that_ends_with_nothing(daemon: Daemon, topic: str) -> None:
    told = "%{http_code}\n%header{extra-cursor}\n%header{preference-applied}"
    output = curl("-H", "Prefer: wait=1", "-w", told, f"{daemon.url}/t/{topic}").decode()
    status, cursor, preference = output.split("\n")
    assert (status, preference) == ("204", "wait=1")
    assert json.loads(curl(f"{daemon.url}/t/{topic}?since={cursor}"))["complete"] is True


def test_an_event_stream(daemon: Daemon, topic: str) -> None:
    with running("-H", "Accept: text/event-stream", f"{daemon.url}/t/{topic}/**") as stream:
        assert stream.stdout is not None
        lines = iter(stream.stdout.readline, b"")
        assert next(lines) == b"retry: 2000\n"
        assert next(lines).startswith(b"id: ")
        assert next(lines) == b"\n"
        receipt = fields_of(curl("-d", "1", f"{daemon.url}/t/{topic}/a"))
        assert next(lines) == f"id: {receipt['cursor']}\n".encode()
        data = json.loads(next(lines).removeprefix(b"data: "))
        assert (data["topic"], data["offset"]) == (f"{topic}/a", receipt["offset"])
        assert receipt["subscribers"] == 1


def test_an_event_stream_resumes_with_last_event_id(daemon: Daemon, topic: str) -> None:
    first = fields_of(curl("-d", "1", f"{daemon.url}/t/{topic}"))
    second = fields_of(curl("-d", "2", f"{daemon.url}/t/{topic}"))
    url = f"{daemon.url}/sse?topic={topic}&format=raw"
    with running("-H", f"Last-Event-ID: {first['cursor']}", url) as stream:
        assert stream.stdout is not None
        lines = [stream.stdout.readline() for _ in range(6)]
    assert lines[3:] == [f"id: {second['cursor']}\n".encode(), b"data: 2\n", b"\n"]


def test_head_has_what_get_has_without_the_body(daemon: Daemon, topic: str) -> None:
    for path in (f"/t/{topic}", f"/t/{topic}?wait=20", f"/poll?topic={topic}", "/healthz", "/metrics", "/"):
        head = curl("--head", f"{daemon.url}{path}").decode().lower()
        assert head.startswith(("http/1.1 200", "http/1.1 204")), path
        assert head.endswith("\r\n\r\n")
    stream = curl("--head", "-H", "Accept: text/event-stream", f"{daemon.url}/t/{topic}").decode().lower()
    assert "content-type: text/event-stream" in stream


def upload_expecting_100(url: str, body: bytes) -> tuple[bytes, bytes]:
    """Send a body when the broker asks for it (RFC 9110 10.1.1); return the answer and the heads seen."""
    expecting = ("-H", "Expect: 100-continue", "--expect100-timeout", str(LIMIT_S))
    done = subprocess.run(
        ["curl", "-sv", *expecting, "--data-binary", "@-", url],
        input=body,
        capture_output=True,
        check=True,
        timeout=LIMIT_S,
    )
    return done.stdout, done.stderr


def test_a_large_body_is_asked_for(daemon: Daemon, topic: str) -> None:
    _, heads = upload_expecting_100(f"{daemon.url}/t/{topic}", b"x" * 100_000)
    assert b"HTTP/1.1 100 Continue" in heads
    assert b"HTTP/1.1 201 Created" in heads


def test_a_body_that_is_too_large_is_not_asked_for(daemon: Daemon, topic: str) -> None:
    answer, heads = upload_expecting_100(f"{daemon.url}/t/{topic}", b"x" * 2_000_000)
    assert b"100 Continue" not in heads
    assert json.loads(answer)["code"] == "limit_exceeded"
    assert b"broker.max_payload_bytes" in answer


def test_a_body_of_unknown_length_is_taken_in_chunks(daemon: Daemon, topic: str) -> None:
    body = b"line\n" * 20_000
    curl("-H", "Transfer-Encoding: chunked", "-T", "-", f"{daemon.url}/t/{topic}", stdin=body)
    [message] = json.loads(curl(f"{daemon.url}/t/{topic}"))["messages"]
    assert message["data"] == body.decode()


def test_one_connection_takes_many_requests(daemon: Daemon, topic: str) -> None:
    targets = [
        word for number in range(5) for word in ("-o", "/dev/null", f"{daemon.url}/t/{topic}?n={number}")
    ]
    assert curl("-w", "%{num_connects}", *targets) == b"10000"


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "application/msgpack"])
def test_many_in_one_request(daemon: Daemon, topic: str, content_type: str) -> None:
    batch = [{"topic": f"{topic}/{number}", "data": number} for number in range(3)]
    body = {
        "application/json": json.dumps(batch).encode(),
        "application/x-ndjson": b"\n".join(json.dumps(each).encode() for each in batch),
        "application/msgpack": msgpack.packb(batch),
    }[content_type]
    receipts = json.loads(
        curl(
            "-H", f"Content-Type: {content_type}", "--data-binary", "@-", f"{daemon.url}/publish", stdin=body
        )
    )
    assert [receipt["topic"] for receipt in receipts] == [each["topic"] for each in batch]
    first = receipts[0]["offset"]
    assert offsets(curl(f"{daemon.url}/t/{topic}/*")) == [first, first + 1, first + 2]


def test_http_1_0_is_spoken_too(daemon: Daemon, topic: str) -> None:
    curl("--http1.0", "-d", "1", f"{daemon.url}/t/{topic}")
    assert len(offsets(curl("--http1.0", f"{daemon.url}/t/{topic}"))) == 1
    with running("--http1.0", f"{daemon.url}/sse?topic={topic}&since=start") as stream:
        assert stream.stdout is not None
        assert stream.stdout.readline() == b"retry: 2000\n"
