"""What a group costs: messages handed to workers and acknowledged, over WebSocket and in process."""

import time
from argparse import ArgumentParser, Namespace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final

from loadtest.asking import group_offset
from loadtest.children import publisher, workers
from loadtest.generator.checks import Mismatch
from loadtest.generator.plan import Plan
from loadtest.processes import result_of
from loadtest.report import Column, Report
from loadtest.rounds import interleaved
from loadtest.targets import broker

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3

PAYLOAD_BYTES = 128
SETTLE_S: Final = 5.0
WAYS: Final = {
    "an ack for each": ("each", False),
    "an ack for all of a read": ("together", False),
    "an ack for each, with a store": ("each", True),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=4)


def run(report: Report, arguments: Namespace) -> None:
    """Measure both. Raises Mismatch when a message was lost or handed out twice."""
    rows = interleaved(
        WAYS,
        arguments.rounds,
        partial(worked_off, messages=arguments.messages, members=arguments.workers),
    )
    report.table(
        f"a group of {arguments.workers} over WebSocket, {PAYLOAD_BYTES} bytes, acknowledged",
        [
            Column("us", "us/message"),
            Column("per_s", "messages/s", "{:,.0f}"),
            Column("server_share", "server", "{:.0%}"),
            Column("generator_share", "generator", "{:.0%}"),
        ],
        rows,
        scenario="groups",
        way="websocket",
        messages=arguments.messages,
        members=arguments.workers,
    )
    rows = interleaved(
        {"any order": "none", "by topic": "topic"},
        arguments.rounds,
        lambda order: result_of("loadtest.inside.sharing", arguments.messages, arguments.workers, order),
    )
    report.table(
        f"a group of {arguments.workers} in process, {PAYLOAD_BYTES} bytes, acknowledged one by one",
        [Column("us", "us/message"), Column("per_s", "messages/s", "{:,.0f}")],
        rows,
        scenario="groups",
        way="process",
        messages=arguments.messages,
        members=arguments.workers,
    )


def worked_off(how: tuple[str, bool], messages: int, members: int) -> dict[str, float]:
    """Publish, then let workers come, until the group stands behind the last message."""
    way, has_store = how
    options = ["--retention-messages", str(messages), "--retention-topic-limit-bytes", str(1 << 30)]
    options += ["--retention-total-limit-bytes", str(1 << 30)]
    with (
        TemporaryDirectory() as place,
        broker(*options, *(["--store", f"{place}/store.db"] if has_store else [])) as server,
    ):
        with publisher(Plan(server.port, "extra", payload_bytes=PAYLOAD_BYTES)) as publishing:
            publishing.ask("pipeline", count=messages)
        with workers(server.port, members, messages, way) as working:
            before = server.cpu_s()
            done = working.ask("work")
            deadline = time.monotonic() + SETTLE_S
            while (offset := group_offset(server.port, "bench")) < messages:
                if time.monotonic() > deadline:
                    raise Mismatch(f"the group stands at {offset} of {messages}")
            cpu = server.cpu_s() - before
    return {
        "us": 1e6 * cpu / messages,
        "per_s": messages / done["seconds"],
        "server_share": cpu / done["seconds"],
        "generator_share": done["cpu_s"] / done["seconds"],
    }
