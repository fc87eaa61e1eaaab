"""What a burst of comings and goings costs: many members of one topic, and of many."""

from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.processes import result_of
from loadtest.report import Column, Report
from loadtest.rounds import interleaved

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--members", type=int, default=10_000)


def run(report: Report, arguments: Namespace) -> None:
    """Measure. Raises ChildProcessError when a count is wrong."""
    members = arguments.members
    rows = interleaved(
        {"one topic": 1, "ten to a topic": max(1, members // 10)},
        arguments.rounds,
        partial(burst, members),
    )
    report.table(
        f"presence, {members:,} come at once, and go",
        [
            Column("join_us", "us/coming"),
            Column("leave_us", "us/going"),
            Column("told", "messages told", "{:,.0f}"),
        ],
        rows,
        scenario="presence",
        members=members,
    )


def burst(members: int, topics: int) -> dict[str, float]:
    """Let `members` come to `topics` topics, and go."""
    figures: dict[str, float] = result_of("loadtest.inside.attendance", members, topics)
    return figures
