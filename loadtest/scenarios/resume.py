"""What it takes when everybody comes back at once: thousands reconnect, each a hundred messages behind."""

import time
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from functools import partial

from loadtest.asking import cursor
from loadtest.children import publisher, subscribers
from loadtest.generator.plan import Group, Plan
from loadtest.report import Column, Report
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, EXTRA_EVENTS, Target

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 1

SETTLING_S = 1.0
RATE = 1000

COLUMNS = [
    Column("seconds", "all live in s", "{:.2f}"),
    Column("per_s", "a second", "{:,.0f}"),
    Column("cpu_s", "server CPU s"),
    Column("waiting_s", "waiting s"),
    Column("before_mib", "MiB before", "{:.0f}"),
    Column("peak_mib", "MiB peak", "{:.0f}"),
    Column("lost", "lost", "{:.0f}"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--behind", type=int, default=100, help="messages, at most what a topic keeps")
    parser.add_argument("--processes", type=int, default=2, help="of the load")


def run(report: Report, arguments: Namespace) -> None:
    """Measure over WebSocket and as events. Raises Mismatch."""
    rows = interleaved(
        {"extra-broker": EXTRA, "extra-broker, SSE": EXTRA_EVENTS},
        arguments.rounds,
        partial(measure, arguments=arguments),
    )
    report.table(
        f"resume, {arguments.subscribers} subscribers at once, each {arguments.behind} messages behind",
        COLUMNS,
        rows,
        scenario="resume",
        subscribers=arguments.subscribers,
        behind=arguments.behind,
    )


def measure(target: Target, arguments: Namespace) -> dict[str, float]:
    """Connect all, cut them off, publish, let all come back at the same time, publish once more."""
    share, behind = arguments.subscribers // arguments.processes, arguments.behind
    with target.start() as server, ExitStack() as children:
        quiet = Plan(server.port, target.dialect, (Group(share, probes=0),))
        publishing = children.enter_context(publisher(quiet))
        since = cursor(server.port, "bench")
        with ExitStack() as first:
            for _ in range(arguments.processes):
                first.enter_context(subscribers(quiet))
            resident = server.resident_bytes()
        publishing.ask("publish", count=behind, rate=RATE)
        time.sleep(SETTLING_S)
        returning = Plan(
            server.port,
            target.dialect,
            (Group(share, query=f"since={since}", probes=0),),
            window=share,
        )
        before, waited = server.cpu_s(), server.waited_s()
        everybody = [
            children.enter_context(subscribers(returning, wait=False)) for _ in range(arguments.processes)
        ]
        begun = min(each.answer()["started"] for each in everybody)
        for each in everybody:
            each.tell("expect", count=behind)
        ended = max(each.answer()["ended"] for each in everybody)
        cpu, waited = server.cpu_s() - before, server.waited_s() - waited
        publishing.ask("publish", count=1, rate=RATE)
        for each in everybody:
            each.ask("expect", count=behind + 1)
            each.ask("finish")
        peak = server.peak_bytes()
    return {
        "seconds": ended - begun,
        "per_s": arguments.subscribers / (ended - begun),
        "cpu_s": cpu,
        "waiting_s": waited,
        "before_mib": resident / 2**20,
        "peak_mib": peak / 2**20,
        "lost": 0,
    }
