"""What one more subscriber costs: many on one topic, at several rates, over WebSocket and as events."""

from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.delivery import DELIVERY_COLUMNS, deliver
from loadtest.generator.plan import Group
from loadtest.peers import installed_peers
from loadtest.report import Column, Report, ratios, say
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, EXTRA_EVENTS, FLOOR

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 3

COLUMNS = [*DELIVERY_COLUMNS[:2], Column("to_broker", "to broker"), *DELIVERY_COLUMNS[2:]]
OURS = {"floor": FLOOR, "extra-broker": EXTRA, "extra-broker, SSE": EXTRA_EVENTS}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--rate", default="100,1000,4000", help="messages a second, separated by commas")
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--payload-bytes", type=int, default=128)
    parser.add_argument(
        "--peer-rate", type=int, default=100, help="up to which rate others are measured as well; 0: not"
    )


def run(report: Report, arguments: Namespace) -> None:
    """Measure each rate by itself. Raises Mismatch."""
    peers, missing = installed_peers()
    for name in missing:
        say(f"not installed here, so not measured: {name}")
    for rate in (int(each) for each in arguments.rate.split(",")):
        measure = partial(
            deliver,
            groups=(Group(arguments.subscribers),),
            rate=rate,
            seconds=arguments.seconds,
            payload_bytes=arguments.payload_bytes,
        )
        targets = {**OURS, **peers} if rate <= arguments.peer_rate else OURS
        rows = interleaved(targets, arguments.rounds, measure)
        ratios(rows, "us_per_delivery", "floor")
        ratios(rows, "us_per_delivery", "extra-broker", into="to_broker")
        size = f"{arguments.subscribers} subscribers, {arguments.payload_bytes} bytes"
        report.table(
            f"fanout, {size}, {rate} messages a second",
            COLUMNS,
            rows,
            scenario="fanout",
            rate=rate,
            subscribers=arguments.subscribers,
            payload_bytes=arguments.payload_bytes,
        )
