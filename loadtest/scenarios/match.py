"""What the scale of topics costs: the match of one among very many filters, and very many topics."""

from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.processes import result_of
from loadtest.report import Column, Report, ratios
from loadtest.rounds import interleaved

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--filters", default="100,10000,1000000", help="how many, separated by commas")
    parser.add_argument("--kinds", default="exact,wild,mixed", help="user/N/inbox, user/N/#, both and more")
    parser.add_argument("--topics", type=int, default=100_000)


def run(report: Report, arguments: Namespace) -> None:
    """Measure matches, then topics. Raises ChildProcessError when an answer is not what it should be."""
    for kind in arguments.kinds.split(","):
        sizes = {f"{int(count):,} filters": int(count) for count in arguments.filters.split(",")}
        rows = interleaved(sizes, arguments.rounds, partial(matching, kind=kind))
        ratios(rows, "us", min(sizes, key=lambda name: abs(sizes[name] - 10_000)))
        report.table(
            f"match, cache cold, filters {kind}",
            [
                Column("us", "us/match", "{:.2f}"),
                Column("ratio", "ratio"),
                Column("add_us", "us/add"),
                Column("bytes", "bytes each", "{:.0f}"),
            ],
            rows,
            scenario="match",
            kind=kind,
        )
    rows = interleaved(
        {f"{arguments.topics:,} topics": arguments.topics},
        1,
        lambda topics: result_of("loadtest.inside.topics", topics),
    )
    report.table(
        "topics with two messages of history and a retained one",
        [
            Column("us", "us/first"),
            Column("again_us", "us/second"),
            Column("bytes", "bytes each", "{:,.0f}"),
            Column("read_us", "us/read"),
            Column("retained_us", "us/retained"),
        ],
        rows,
        scenario="match",
    )


def matching(count: int, kind: str) -> dict[str, float]:
    """Measure the match among `count` filters of a kind."""
    figures: dict[str, float] = result_of("loadtest.inside.matching", count, kind)
    return figures
