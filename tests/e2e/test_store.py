"""A broker with a store: what survives a restart, a full disk, and what it refuses to start on."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from extra.payloads import JSONValue
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def messages(http: httpx.Client, target: str) -> list[dict[str, JSONValue]]:
    response = http.get(target)
    assert response.status_code == 200, response.text
    found: list[dict[str, JSONValue]] = response.json()["messages"]
    return found


def offsets(http: httpx.Client, target: str) -> list[JSONValue]:
    return [message["offset"] for message in messages(http, target)]


def refused(path: Path | str, *options: str) -> str:
    """Return what a broker says that does not start on this file."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "broker",
            "--port",
            "0",
            "--log-format",
            "text",
            "--store",
            str(path),
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    said = done.stderr.splitlines()[-1]
    assert "error" in said
    assert "Traceback" not in done.stderr
    assert str(path) in said
    assert "store.path" in said
    return said


# What survives


def test_everything_goes_on_after_a_restart(start: Start, path: Path) -> None:
    first = start("--store", str(path), "--retention-messages", "3")
    with httpx.Client(base_url=first.url) as http:
        for number in range(5):
            http.post("/t/a", content=str(number))
        http.put("/t/b", content='{"kept": true}', headers={"Extra-Header-Trace": "t1"})
        receipt = http.post("/t/c", content="once", headers={"Idempotency-Key": "k"}).json()
        http.post("/t/d", content="short", params={"ttl": "0.001"})
        cursor = http.get("/t/a").json()["cursor"]
        old = f"{cursor.split('-')[0]}-1"
    first.stop()
    again = start("--store", str(path), "--retention-messages", "3")
    with httpx.Client(base_url=again.url) as http:
        assert offsets(http, "/t/a") == [3, 4, 5]
        assert offsets(http, f"/t/a?since={cursor}") == []
        gone = http.get(f"/t/a?since={old}")
        assert (gone.status_code, gone.json()["until"], gone.json()["after"]) == (410, 2, 1)
        [kept] = messages(http, "/t/b?since=now")
        assert (kept["data"], kept["headers"], kept["retained"]) == ({"kept": True}, {"trace": "t1"}, True)
        once = http.post("/t/c", content="again", headers={"Idempotency-Key": "k"}).json()
        assert (once["offset"], once["cursor"]) == (receipt["offset"], receipt["cursor"])
        assert offsets(http, "/t/c") == [receipt["offset"]]
        assert offsets(http, "/t/d") == []
        assert http.post("/t/a", content="5").json()["cursor"].startswith(f"{cursor.split('-')[0]}-")
        assert offsets(http, f"/t/a?since={cursor}") == [receipt["offset"] + 2]
        http.delete("/t/b")
    again.stop()
    last = start("--store", str(path))
    with httpx.Client(base_url=last.url) as http:
        assert messages(http, "/t/b?since=now") == []


def test_a_condition_holds_over_a_restart(start: Start, path: Path) -> None:
    options = ("--store", str(path), "--retention-messages", "0")
    first = start(*options)
    with httpx.Client(base_url=first.url) as http:
        created = http.put("/t/a", content="1", headers={"If-None-Match": "*"})
        assert (created.status_code, created.headers["etag"]) == (201, '"1"')
    first.stop()
    again = start(*options)
    with httpx.Client(base_url=again.url) as http:
        for headers in ({"If-None-Match": "*"}, {"If-Match": "2"}):
            refused = http.put("/t/a", content="2", headers=headers)
            assert (refused.status_code, refused.json()["offset"]) == (412, 1)
        read = http.get("/t/a?since=now")
        assert read.headers["etag"] == '"1"'
        changed = http.put("/t/a", content="2", headers={"If-Match": read.headers["etag"]})
        assert (changed.status_code, changed.headers["etag"]) == (201, '"2"')


def test_what_is_scheduled_outlives_a_kill_and_comes_once(start: Start, path: Path) -> None:
    first = Daemon("--store", str(path))
    with httpx.Client(base_url=first.url) as http:
        at = time.time() + 2
        for number in range(3):
            accepted = http.post("/t/a", content=str(number), headers={"Extra-Deliver-At": f"{at:.3f}"})
            assert accepted.status_code == 202
        far = http.post("/t/a", content="far", headers={"Extra-Deliver-After": "3600"}).json()["scheduled"]
        gone = http.post("/t/a", content="gone", headers={"Extra-Deliver-After": "3600"})
        assert http.delete(gone.headers["location"]).status_code == 204
    first.kill()
    again = Daemon("--store", str(path))
    with httpx.Client(base_url=again.url, timeout=LIMIT_S) as http:
        found: list[JSONValue] = []
        cursor = "start"
        while len(found) < 3:
            page = http.get("/t/a", params={"since": cursor, "wait": "10"})
            cursor = page.headers["extra-cursor"]
            found += [message["data"] for message in page.json()["messages"]]
        assert found == [0, 1, 2]
    again.kill()
    last = start("--store", str(path))
    with httpx.Client(base_url=last.url) as http:
        assert [message["data"] for message in messages(http, "/t/a")] == [0, 1, 2]
        assert [each["scheduled"] for each in http.get("/scheduled").json()["scheduled"]] == [far]
        assert "extra_scheduled_messages 1" in http.get("/metrics").text


def test_it_says_what_it_reads(start: Start, path: Path) -> None:
    start("--store", str(path)).stop()
    own = start("--store", str(path), "--store-durability", "normal")
    told = [str(line["message"]) for line in own.log]
    assert f"opening {path} (store.path) with durability normal" in told
    assert any(line.startswith(f"{path} holds 0 messages on 0 topics") for line in told)


def test_a_file_can_be_named_in_all_ways(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(f"[store]\npath = '{tmp_path}/a.db'\nqueue_limit_messages = 1\n")
    for options in (("--config", str(config)), ("--store-path", f"{tmp_path}/b.db")):
        own = start(*options)
        with httpx.Client(base_url=own.url) as http:
            assert http.post("/publish", json=[{"topic": "a", "data": 1}] * 10).status_code == 201
            assert "extra_store_messages_written_total 10\n" in http.get("/metrics").text
    assert {"a.db", "b.db"} <= set(os.listdir(tmp_path))


# A full disk


def limit_files(daemon: Daemon, size_bytes: int) -> None:
    """Let no file of the broker grow beyond this."""
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


@pytest.fixture
def full(start: Start, path: Path) -> Iterator[Daemon]:
    """A broker whose disk is full, after one message was published."""
    own = start("--store", str(path), "--log-format", "json")
    own.expects_trouble = True
    with httpx.Client(base_url=own.url) as http:
        assert http.post("/t/a", content=b"first").status_code == 201
        limit_files(own, max(os.stat(f"{path}-wal").st_size, 1))
        assert http.post("/t/a", content=b"x" * 100_000).status_code == 503
    yield own
    if own.is_running:
        limit_files(own, resource.RLIM_INFINITY)


def test_on_a_full_disk_publishing_is_refused_and_reading_goes_on(full: Daemon) -> None:
    with httpx.Client(base_url=full.url) as http:
        refusal = http.post("/t/a", content=b"x")
        assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "1")
        assert refusal.json()["code"] == "engine_unavailable"
        assert "cannot be written" in refusal.json()["detail"]
        batch = http.post("/publish", json=[{"topic": "a", "data": 1}])
        assert (batch.status_code, batch.json()[0]["error"]["code"]) == (207, "engine_unavailable")
        assert http.delete("/t/a").status_code == 503
        assert offsets(http, "/t/a") == [1]
        assert http.get("/healthz").status_code == 200
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "engine_unavailable")
        assert "extra_store_writable 0\n" in http.get("/metrics").text


def test_when_there_is_room_again_it_goes_on_by_itself(full: Daemon, start: Start, path: Path) -> None:
    limit_files(full, resource.RLIM_INFINITY)
    full.wait_for("can be written again")
    with httpx.Client(base_url=full.url) as http:
        assert http.get("/readyz").status_code == 200
        assert http.post("/t/a", content=b"second").json()["offset"] == 2
        assert offsets(http, "/t/a") == [1, 2]
    full.stop()
    again = start("--store", str(path))
    with httpx.Client(base_url=again.url) as http:
        assert offsets(http, "/t/a") == [1, 2]


def test_a_full_disk_is_said_once(full: Daemon) -> None:
    with httpx.Client(base_url=full.url) as http:
        for _ in range(5):
            http.post("/t/a", content=b"x")
    said = [line for line in full.log if line["level"] == "error"]
    assert len(said) == 1
    assert "cannot be written" in str(said[0]["message"])
    assert "reading goes on" in str(said[0]["message"])


# The commands about stores


def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "broker", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=environment(),
    )
    return done.returncode, done.stdout, done.stderr


def test_a_store_is_looked_at_and_exported_while_its_broker_runs(start: Start, path: Path) -> None:
    own = start("--store", str(path))
    with httpx.Client(base_url=own.url) as http:
        for number in range(3):
            http.put("/t/a/b", content=str(number))
        status, printed, _ = run("topics", "--store", str(path))
        assert (status, printed.split()[-6:]) == (0, ["3", "3", "3", "-", "R", "a/b"])
        assert run("check", "--store", str(path))[0] == 0
        status, exported, _ = run("export", "a/#", "--store", str(path))
        assert (status, len(exported.splitlines())) == (0, 5)
        for command in (("compact",), ("import", "-")):
            status, _, said = run(*command, "--store", str(path), stdin=exported)
            assert (status, f"in use by process {own.pid}" in said) == (1, True)
        assert http.post("/t/a/b", content="3").json()["offset"] == 4


def test_a_broker_goes_on_with_what_was_exported_and_imported(
    start: Start, path: Path, tmp_path: Path
) -> None:
    own = start("--store", str(path), "--retention-messages", "2")
    with httpx.Client(base_url=own.url) as http:
        for number in range(4):
            http.put("/t/a", content=str(number))
        cursor = http.get("/t/a").json()["cursor"]
    own.stop()
    saved, moved = str(tmp_path / "saved.msgpack"), str(tmp_path / "moved.db")
    assert run("export", "--store", str(path), "--format", "msgpack", "--output", saved)[0] == 0
    assert run("import", saved, "--same-epoch", "--store", moved)[0] == 0
    assert run("compact", "--store", moved)[0] == 0
    again = start("--store", moved)
    with httpx.Client(base_url=again.url) as http:
        assert [(each["offset"], each["data"]) for each in messages(http, "/t/a")] == [(3, 2), (4, 3)]
        assert [each["offset"] for each in messages(http, "/t/a?since=now")] == [4]
        assert http.get(f"/t/a?since={cursor.split('-')[0]}-1").json()["until"] == 2
        http.post("/t/a", content="4")
        assert offsets(http, f"/t/a?since={cursor}") == [5]


# What it does not start on


def test_a_file_in_use_is_refused(start: Start, path: Path) -> None:
    own = start("--store", str(path))
    assert f"in use by process {own.pid}" in refused(path)


def test_a_file_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"This is a letter. " * 300)
    assert "no store of extra-broker" in refused(path)
    assert path.read_bytes().startswith(b"This is a letter. ")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before


def test_a_newer_file_is_refused(start: Start, path: Path) -> None:
    start("--store", str(path)).stop()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    assert "newer extra-broker" in refused(path)


def test_a_damaged_file_is_refused_with_the_way_out(start: Start, path: Path) -> None:
    own = start("--store", str(path))
    with httpx.Client(base_url=own.url) as http:
        http.post("/publish", content=json.dumps([{"topic": "a", "data": "needle" * 20}] * 50))
    own.stop()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"needle", b"noodle", 1))
    said = refused(path)
    assert "is damaged" in said
    assert "backup" in said
    assert "extra-broker export" in said
    path.write_bytes(content[: len(content) // 2])
    assert "is damaged" in refused(path)


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)
    assert "there is no directory" in refused(tmp_path / "nowhere" / "store.db")
