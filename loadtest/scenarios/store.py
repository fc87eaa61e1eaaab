"""What a store costs: publishing with receipts beside bare SQLite, and fan-out beside the memory engine."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import extra
from loadtest.delivery import DELIVERY_COLUMNS, deliver
from loadtest.generator.plan import Group
from loadtest.processes import Server, result_of
from loadtest.report import Column, Report, ratios
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, Target, broker

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3

PAYLOAD_BYTES = 200

GROWING_BYTES = 6 * 1024 * 1024
"""More than a write-ahead log has when it is carried over."""

LARGE_BYTES = 512 * 1024

COLUMNS = [
    Column("per_s", "messages/s", "{:,.0f}"),
    Column("ratio", "to bare"),
    Column("us", "us/message"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--rate", type=int, default=200, help="messages a second that are fanned out")
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--directory", help="where the files go: on the disk in question")


def run(report: Report, arguments: Namespace) -> None:
    """Measure publishing with each durability, and fan-out with both. Raises Mismatch."""
    for durability in ("full", "normal"):
        rows = interleaved(
            {"bare SQLite": ("bare", durability), "extra": ("extra", durability)},
            arguments.rounds,
            partial(publish, messages=arguments.messages, directory=arguments.directory),
        )
        ratios(rows, "per_s", "bare SQLite")
        report.table(
            f"publish in process, with receipts, {PAYLOAD_BYTES} bytes, durability {durability}",
            COLUMNS,
            rows,
            scenario="store",
            durability=durability,
            messages=arguments.messages,
        )
    targets = {
        "memory": EXTRA,
        **{
            f"store, {durability}": Target(EXTRA.dialect, partial(stored, durability, arguments.directory))
            for durability in ("full", "normal")
        },
    }
    measure = partial(
        deliver,
        groups=(Group(arguments.subscribers),),
        rate=arguments.rate,
        seconds=arguments.seconds,
        payload_bytes=PAYLOAD_BYTES,
    )
    rows = interleaved(targets, arguments.rounds, measure)
    ratios(rows, "us_per_delivery", "memory")
    report.table(
        f"fanout, {arguments.subscribers} subscribers, {PAYLOAD_BYTES} bytes, {arguments.rate} messages/s",
        DELIVERY_COLUMNS,
        rows,
        scenario="store",
        rate=arguments.rate,
        subscribers=arguments.subscribers,
    )


def publish(what: tuple[str, str], messages: int, directory: str | None) -> dict[str, float]:
    """Publish, or write rows, into a new file."""
    with TemporaryDirectory(dir=directory) as place:
        figures: dict[str, float] = result_of("loadtest.inside.storing", *what, messages, place)
    return figures


@contextmanager
def stored(durability: str, directory: str | None) -> Iterator[Server]:
    """Start extra-broker with a new store whose write-ahead log has grown to its size.

    That is what one has that has been running for a while: before, each transaction makes it longer.
    """
    with (
        TemporaryDirectory(dir=directory) as place,
        broker("--store", f"{place}/store.db", "--store-durability", durability) as server,
    ):
        for _ in range(GROWING_BYTES // LARGE_BYTES):
            extra.publish(f"http://127.0.0.1:{server.port}", "large", bytes(LARGE_BYTES))
        yield server
