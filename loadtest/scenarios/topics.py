"""What routing costs: subscribers that each have a topic of their own, and a common wildcard.

Two readings of "common": one more subscriber has the wildcard, so that each message goes to two; or everybody
has it beside the topic of their own, so that each goes to everybody, once. The floor knows who gets what.
"""

from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.delivery import DELIVERY_COLUMNS, deliver
from loadtest.generator.plan import Group
from loadtest.report import Report, ratios
from loadtest.rounds import interleaved
from loadtest.targets import ADDRESSED_FLOOR, EXTRA

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=2000, help="messages a second, over random topics")
    parser.add_argument("--shared-rate", default="100,2000", help="the same where everybody gets everything")
    parser.add_argument("--seconds", type=float, default=2.0)


def run(report: Report, arguments: Namespace) -> None:
    """Measure both. Raises Mismatch."""
    count = arguments.subscribers
    apart = (Group(count, ("bench/{}",), is_shared=False), Group(1, ("bench/#",)))
    table(report, arguments, "and one on all", apart, arguments.rate)
    together = (Group(count, ("bench/{}", "bench/#")),)
    for rate in (int(each) for each in arguments.shared_rate.split(",")):
        table(report, arguments, "and all on all", together, rate)


def table(report: Report, arguments: Namespace, title: str, groups: tuple[Group, ...], rate: int) -> None:
    """Measure one distribution of subscribers."""
    measure = partial(
        deliver,
        groups=groups,
        rate=rate,
        seconds=arguments.seconds,
        payload_bytes=128,
        topics=arguments.subscribers,
    )
    rows = interleaved({"floor": ADDRESSED_FLOOR, "extra-broker": EXTRA}, arguments.rounds, measure)
    ratios(rows, "us_per_delivery", "floor")
    report.table(
        f"topics, {arguments.subscribers} subscribers each on their own, {title}, {rate} messages a second",
        DELIVERY_COLUMNS,
        rows,
        scenario="topics",
        case=title,
        rate=rate,
        subscribers=arguments.subscribers,
    )
