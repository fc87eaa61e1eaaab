"""What an item costs inside one process: `Channel` and `Broadcast`, asyncio.Queue, anyio's memory streams."""

from argparse import ArgumentParser, Namespace

from loadtest.processes import result_of
from loadtest.report import Column, Report, ratios

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--items", type=int, default=20_000)


def run(report: Report, arguments: Namespace) -> None:
    """Measure each case by itself: what is compared runs in turn in one process."""
    cases = result_of("loadtest.inside.conduits", arguments.items, arguments.rounds)
    for case, conduits in cases.items():
        rows = {name: [{"us_per_item": us} for us in rounds] for name, rounds in conduits.items()}
        ratios(rows, "us_per_item", "asyncio.Queue")
        report.table(
            f"channels, {case}",
            [Column("us_per_item", "us/item", "{:.3f}"), Column("ratio", "ratio")],
            rows,
            scenario="channels",
            case=case,
        )
