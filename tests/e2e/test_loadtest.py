"""The load tests, in very short: they measure a real broker, and refuse a server with faults."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from loadtest.delivery import deliver
from loadtest.generator.checks import Mismatch
from loadtest.generator.plan import Group
from loadtest.processes import announced
from loadtest.targets import ADDRESSED_FLOOR, EXTRA, EXTRA_EVENTS, FLOOR, Target
from tests.e2e.daemon import environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FAULTY = Path(__file__).with_name("faulty_floor.py")
LIMIT_S = 100


def bench(*arguments: str) -> list[dict[str, object]]:
    """Run the bench, and return the figures that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *arguments, "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line.startswith("{")]


@pytest.mark.parametrize("target", [FLOOR, EXTRA, EXTRA_EVENTS])
def test_deliveries_are_measured(target: Target) -> None:
    figures = deliver(target, groups=(Group(5, probes=5),), rate=100, seconds=0.2, payload_bytes=128)
    assert figures["deliveries"] == 100
    assert figures["us_per_delivery"] > 0
    assert figures["p999_ms"] >= figures["p50_ms"] > 0


@pytest.mark.parametrize("target", [ADDRESSED_FLOOR, EXTRA])
def test_each_subscriber_has_a_topic_of_its_own(target: Target) -> None:
    groups = (Group(4, ("bench/{}",), is_shared=False), Group(1, ("bench/#",)))
    figures = deliver(target, groups=groups, rate=200, seconds=0.2, payload_bytes=128, topics=4)
    assert figures["deliveries"] == 80


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("lost", "got message 10 where 9 should come: lost"),
        ("doubled", "got message 9 where 10 should come: doubled"),
        ("reordered", "got message 10 where 9 should come: lost or reordered"),
    ],
)
def test_a_run_with_a_fault_is_not_reported(fault: str, case: str) -> None:
    target = Target("raw", partial(announced, str(FAULTY), fault))
    with pytest.raises(Mismatch, match=f"subscriber 2 {case}"):
        deliver(target, groups=(Group(3),), rate=100, seconds=0.2, payload_bytes=128)


def test_figures_are_printed_with_where_they_come_from() -> None:
    figures = bench(
        *("fanout", "--rate", "50", "--subscribers", "3", "--seconds", "0.2", "--peer-rate", "0"),
    )
    assert [figure["name"] for figure in figures] == ["floor", "extra-broker", "extra-broker, SSE"]
    assert {"commit", "dirty", "mode", "python", "kernel", "cpus", "ratio"} <= figures[1].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ("memory", "--connections", "50", "--ours", "--settle", "0"),
        ("publish", "--messages", "500", "--requests", "200", "--connections", "4"),
        ("resume", "--subscribers", "20", "--behind", "10"),
        ("match", "--filters", "100,1000", "--kinds", "mixed", "--topics", "500"),
        ("channels", "--items", "200"),
        ("groups", "--messages", "2000"),
        (
            *("stalled", "--subscribers", "10", "--stalled", "2", "--rate", "400", "--seconds", "1"),
            *("--policies", "drop-oldest"),
        ),
    ],
)
def test_every_subject_runs(arguments: tuple[str, ...]) -> None:
    assert len(bench(*arguments)) >= 2


def test_a_store_is_measured_beside_bare_sqlite_and_the_memory_engine() -> None:
    figures = bench("store", "--messages", "4000", "--subscribers", "5", "--rate", "100", "--seconds", "0.2")
    names = [(str(each["figure"]).partition(",")[0], each["name"]) for each in figures]
    assert names == [
        ("publish in process", "bare SQLite"),
        ("publish in process", "extra"),
        ("publish in process", "bare SQLite"),
        ("publish in process", "extra"),
        ("fanout", "memory"),
        ("fanout", "store, full"),
        ("fanout", "store, normal"),
    ]
    assert all(isinstance(each["ratio"], float) and each["ratio"] > 0 for each in figures)


def test_a_burst_of_members_is_counted() -> None:
    figures = bench("presence", "--members", "2000", "--rounds", "1")
    assert {each["name"] for each in figures} == {"one topic", "ten to a topic"}
    assert all(isinstance(each["join_us"], float) and each["told"] != 0 for each in figures)
