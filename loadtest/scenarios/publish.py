"""What publishing costs when nobody listens: over a WebSocket, by HTTP POST, and in process."""

import time
from argparse import ArgumentParser, Namespace
from functools import partial
from typing import Final

from loadtest.asking import check_log, metrics
from loadtest.children import poster, publisher
from loadtest.generator.checks import Mismatch
from loadtest.generator.plan import Plan
from loadtest.processes import result_of
from loadtest.report import Column, Report, percentile, ratios
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, FLOOR, HELLO, Target

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3

PAYLOAD_BYTES = 128
SETTLE_S: Final = 5.0
PIPELINE_COLUMNS = [
    Column("us_per_message", "us/message"),
    Column("ratio", "ratio"),
    Column("per_s", "messages/s", "{:,.0f}"),
    Column("server_share", "server", "{:.0%}"),
    Column("generator_share", "generator", "{:.0%}"),
]
REQUEST_COLUMNS = [
    Column("us_per_request", "us/request"),
    Column("ratio", "ratio"),
    Column("per_s", "requests/s", "{:,.0f}"),
    Column("rate_ratio", "ratio"),
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("server_share", "server", "{:.0%}"),
    Column("generator_share", "generator", "{:.0%}"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=64)


def run(report: Report, arguments: Namespace) -> None:
    """Measure the three ways. Raises Mismatch when the log has not what was published."""
    rows = interleaved(
        {"floor": FLOOR, "extra-broker": EXTRA},
        arguments.rounds,
        partial(pipelined, messages=arguments.messages),
    )
    ratios(rows, "us_per_message", "floor")
    report.table(
        f"publish over one WebSocket, {PAYLOAD_BYTES} bytes, pipelined, no receipts",
        PIPELINE_COLUMNS,
        rows,
        scenario="publish",
        way="websocket",
    )
    rows = interleaved(
        {"httptools hello": HELLO, "extra-broker": EXTRA},
        arguments.rounds,
        partial(posted, requests=arguments.requests, connections=arguments.connections),
    )
    ratios(rows, "us_per_request", "httptools hello")
    ratios(rows, "per_s", "httptools hello", into="rate_ratio")
    report.table(
        f"publish by POST, {PAYLOAD_BYTES} bytes, {arguments.connections} keep-alive connections",
        REQUEST_COLUMNS,
        rows,
        scenario="publish",
        way="post",
    )
    rows = interleaved(
        {"no subscriber": 0, "10 subscribers": 10},
        arguments.rounds,
        lambda subscribers: result_of(
            "loadtest.inside.publishing", arguments.messages // (1 + subscribers), subscribers
        ),
    )
    report.table(
        f"publish in process, {PAYLOAD_BYTES} bytes",
        [Column("us", "us/message"), Column("per_s", "messages/s", "{:,.0f}")],
        rows,
        scenario="publish",
        way="process",
    )


def pipelined(target: Target, messages: int) -> dict[str, float]:
    """Publish over one connection without waiting, as fast as the server takes it."""
    with target.start() as server:
        plan = Plan(server.port, target.dialect, payload_bytes=PAYLOAD_BYTES)
        with publisher(plan) as publishing:
            publishing.ask("pipeline", count=1000)
            before = server.cpu_s()
            done = publishing.ask("pipeline", count=messages)
            cpu = server.cpu_s() - before
            if target is EXTRA:
                check_published(server.port, 1000 + messages)
                check_log(server.port, "bench", 1000 + messages)
    return {
        "us_per_message": 1e6 * cpu / messages,
        "per_s": messages / done["seconds"],
        "server_share": cpu / done["seconds"],
        "generator_share": done["cpu_s"] / done["seconds"],
    }


def posted(target: Target, requests: int, connections: int) -> dict[str, float]:
    """Post, with one request under way on each connection."""
    with (
        target.start() as server,
        poster(server.port, connections, requests, PAYLOAD_BYTES) as posting,
    ):
        before = server.cpu_s()
        done = posting.ask("post")
        cpu = server.cpu_s() - before
        if target is EXTRA:
            check_published(server.port, requests)
            for name, sent in enumerate(done["sent"]):
                check_log(server.port, f"bench/{name}", sent)
    delays = sorted(done["delays_us"])
    return {
        "us_per_request": 1e6 * cpu / requests,
        "per_s": requests / done["seconds"],
        "p50_ms": percentile(delays, 0.5) / 1000,
        "p99_ms": percentile(delays, 0.99) / 1000,
        "server_share": cpu / done["seconds"],
        "generator_share": done["cpu_s"] / done["seconds"],
    }


def check_published(port: int, count: int) -> None:
    """Raise Mismatch unless the broker has published so many, or does within `SETTLE_S`.

    A pong may overtake what was published before the ping, as long as that waits for its turn.
    """
    deadline = time.monotonic() + SETTLE_S
    while (published := metrics(port)["messages_published_total"]) != count:
        if time.monotonic() > deadline:
            raise Mismatch(f"{count} messages were published, the broker has counted {published:.0f}")
        time.sleep(0.01)
