"""What an idle subscriber costs: resident memory over thousands of connections."""

import time
from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.children import publisher, subscribers
from loadtest.generator.plan import Group, Plan
from loadtest.peers import installed_peers
from loadtest.report import Column, Report, ratios
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, EXTRA_EVENTS, FLOOR, Target

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 1

FIRST_CONNECTIONS = 200
"""They pay for what is loaded and allocated once."""

COLUMNS = [
    Column("bytes_per_connection", "bytes each", "{:,.0f}"),
    Column("ratio", "ratio"),
    Column("bytes_after_message", "after 1 msg", "{:,.0f}"),
    Column("server_mib", "MiB in all", "{:.1f}"),
    Column("seconds", "opened in s", "{:.1f}"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--connections", type=int, default=8000)
    parser.add_argument("--settle", type=float, default=1.2, help="seconds before memory is read")
    parser.add_argument("--ours", action="store_true", help="leave out the others")


def run(report: Report, arguments: Namespace) -> None:
    """Measure. Raises Mismatch when a message does not reach everybody."""
    targets = {"floor": FLOOR, "extra-broker": EXTRA, "extra-broker, SSE": EXTRA_EVENTS}
    if not arguments.ours:
        targets |= installed_peers()[0]
    rows = interleaved(
        targets,
        arguments.rounds,
        partial(measure, connections=arguments.connections, settle_s=arguments.settle),
    )
    ratios(rows, "bytes_per_connection", "floor")
    report.table(
        f"memory, {arguments.connections} idle subscribers of one topic",
        COLUMNS,
        rows,
        scenario="memory",
        connections=arguments.connections,
    )


def measure(target: Target, connections: int, settle_s: float) -> dict[str, float]:
    """Open connections; then publish one message to all, since nobody stays idle for ever."""
    with target.start() as server:
        first = Plan(server.port, target.dialect, (Group(FIRST_CONNECTIONS, probes=0),))
        others = Plan(server.port, target.dialect, (Group(connections, probes=0),), first=2)
        with subscribers(first) as early, publisher(first) as publishing:
            publishing.ask("publish", count=2, rate=100)
            early.ask("expect", count=2)
            time.sleep(settle_s)
            before = server.resident_bytes()
            started = time.monotonic()
            with subscribers(others) as everybody:
                took = time.monotonic() - started
                time.sleep(settle_s)
                idle = server.resident_bytes()
                publishing.ask("publish", count=1, rate=100)
                everybody.ask("expect", count=1)
                time.sleep(settle_s)
                everybody.ask("finish")
                early.ask("expect", count=3)
                used = server.resident_bytes()
    return {
        "bytes_per_connection": (idle - before) / connections,
        "bytes_after_message": (used - before) / connections,
        "server_mib": used / 2**20,
        "seconds": took,
    }
