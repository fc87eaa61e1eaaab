"""What slow subscribers cost the others, and what they are told: some read nothing at all, under each policy.

The others' latency is compared with a run in which nobody is stalled. Afterwards those that stalled read
what was kept for them. Under `drop-oldest` and `latest` what they got and what they were told of as dropped
have to be all that was published, under `disconnect` each has to have had its goodbye; and /metrics has to
say the same. The broker's outboxes are made small, and so are the kernel's buffers of those that stall, so
that they are full within seconds. Its close timeout is made long: by default a client that reads nothing for
two seconds behind its goodbye is cut off, and never sees it.
"""

from argparse import ArgumentParser, Namespace
from functools import partial

from loadtest.asking import metrics
from loadtest.children import publisher, subscribers
from loadtest.generator.checks import Mismatch
from loadtest.generator.plan import Group, Plan
from loadtest.report import Column, Report, percentile, ratios
from loadtest.rounds import interleaved
from loadtest.targets import broker

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 1

OPTIONS = ("--broker-outbox-limit-bytes", str(128 * 1024), "--websocket-close-timeout-s", "60")
RECEIVE_BUFFER_BYTES = 4096
WARM_S = 0.5

COLUMNS = [
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("ratio", "ratio"),
    Column("grown_kib_each", "KiB/stalled", "{:.0f}"),
    Column("dropped", "dropped", "{:,.0f}"),
    Column("gaps", "gaps told", "{:.0f}"),
    Column("goodbyes", "goodbyes", "{:.0f}"),
    Column("server_share", "server", "{:.0%}"),
    Column("waiting_share", "waiting", "{:.0%}"),
    Column("generator_share", "generator", "{:.0%}"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--stalled", type=int, default=100, help="so many of them read nothing")
    parser.add_argument("--policies", default="disconnect,drop-oldest,latest")
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--payload-bytes", type=int, default=2048)


def run(report: Report, arguments: Namespace) -> None:
    """Measure each policy. Raises Mismatch when the others miss anything, or the stalled are not told."""
    policies = {"nobody is stalled": "", **{each: each for each in arguments.policies.split(",")}}
    rows = interleaved(policies, arguments.rounds, partial(measure, arguments=arguments))
    ratios(rows, "p99_ms", "nobody is stalled")
    report.table(
        f"stalled, {arguments.stalled} of {arguments.subscribers} read nothing; figures of the others",
        COLUMNS,
        rows,
        scenario="stalled",
        **{key: vars(arguments)[key] for key in ("subscribers", "stalled", "rate", "payload_bytes")},
    )


def measure(policy: str, arguments: Namespace) -> dict[str, float]:
    """Publish for so long to the others and, unless `policy` is empty, to those that are stalled."""
    rate, stalled = arguments.rate, arguments.stalled
    warm, count = int(rate * WARM_S), int(rate * arguments.seconds)
    others = Group(arguments.subscribers - stalled, probes=30)
    groups = (others, Group(stalled, query=f"overflow={policy}", is_stalled=True)) if policy else (others,)
    with broker(*OPTIONS) as server:
        plan = Plan(
            server.port,
            "extra",
            groups,
            arguments.payload_bytes,
            receive_buffer_bytes=RECEIVE_BUFFER_BYTES,
        )
        with subscribers(plan) as everybody, publisher(plan) as publishing:
            publishing.ask("publish", count=warm, rate=rate)
            everybody.ask("expect", count=warm)
            resident, before, waited = server.resident_bytes(), server.cpu_s(), server.waited_s()
            publishing.tell("publish", count=count, rate=rate)
            got = everybody.ask("expect", count=warm + count)
            cpu, waited = server.cpu_s() - before, server.waited_s() - waited
            sent = publishing.answer()
            grown = server.resident_bytes() - resident
            everybody.ask("finish")
            told = {"dropped": 0.0, "gaps": 0.0, "goodbyes": 0.0}
            if policy:
                told = check_told(server.port, policy, stalled, warm + count, everybody.ask("told"))
    delays = sorted(got["delays_us"])
    took = got["ended"] - sent["started"]
    return {
        "p50_ms": percentile(delays, 0.5) / 1000,
        "p99_ms": percentile(delays, 0.99) / 1000,
        "grown_kib_each": grown / 1024 / stalled,
        **told,
        "server_share": cpu / took,
        "waiting_share": waited / took,
        "generator_share": got["cpu_s"] / took,
    }


def check_told(
    port: int, policy: str, stalled: int, published: int, told: dict[str, float]
) -> dict[str, float]:
    """Hold what the stalled were told against what was published, and against /metrics. Raises Mismatch."""
    counted = metrics(port)
    if told["silent"]:
        raise Mismatch(f"{told['silent'][0]} lost messages and was told nothing")  # type: ignore[index]
    if policy == "disconnect":
        for name in ("outbox_overflows_total", 'goodbyes_total{reason="slow"}'):
            if counted[name] != stalled:
                raise Mismatch(f"{stalled} were disconnected, {name} is {counted[name]:.0f}")
    else:
        missing = stalled * published - told["received"] - told["dropped"]
        if missing:
            raise Mismatch(f"{missing:.0f} messages were neither received nor told of as dropped")
        if counted["messages_dropped_total"] != told["dropped"]:
            raise Mismatch(
                f"{told['dropped']:.0f} dropped, metrics say {counted['messages_dropped_total']:.0f}"
            )
    return {key: told[key] for key in ("dropped", "gaps", "goodbyes")}
