"""One run of subscribers and a publisher against one server: what a delivery cost, and how late it was."""

from loadtest.children import publisher, subscribers
from loadtest.generator.plan import Group, Plan
from loadtest.report import Column, percentile
from loadtest.targets import Target

__all__ = ["DELIVERY_COLUMNS", "deliver"]

WARM_S = 0.3

DELIVERY_COLUMNS = [
    Column("us_per_delivery", "us/delivery", "{:.3f}"),
    Column("ratio", "ratio"),
    Column("deliveries_per_s", "deliveries/s", "{:,.0f}"),
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("p999_ms", "p99.9 ms"),
    Column("messages_per_read", "per read", "{:.1f}"),
    Column("server_share", "server", "{:.0%}"),
    Column("waiting_share", "waiting", "{:.0%}"),
    Column("generator_share", "generator", "{:.0%}"),
]


def deliver(
    target: Target,
    *,
    groups: tuple[Group, ...],
    rate: int,
    seconds: float,
    payload_bytes: int,
    topics: int = 0,
) -> dict[str, float]:
    """Publish at a rate for so long, to everybody in `groups`, and return the figures.

    Raises:
        Mismatch: a message was lost, doubled or reordered; names the first case.
    """
    warm = max(1, int(rate * WARM_S))
    count = int(rate * seconds)
    with target.start() as server:
        plan = Plan(server.port, target.dialect, groups, payload_bytes, topics=topics, messages=warm + count)
        with subscribers(plan) as everybody, publisher(plan) as publishing:
            publishing.tell("publish", count=warm, rate=rate)
            everybody.ask("expect", count=warm)
            publishing.answer()
            before, waited_before = server.cpu_s(), server.waited_s()
            publishing.tell("publish", count=count, rate=rate)
            got = everybody.ask("expect", count=warm + count)
            cpu, waited = server.cpu_s() - before, server.waited_s() - waited_before
            sent = publishing.answer()
            everybody.ask("finish")
    took = got["ended"] - sent["started"]
    delays = sorted(got["delays_us"])
    return {
        "us_per_delivery": 1e6 * cpu / got["deliveries"],
        "deliveries": got["deliveries"],
        "deliveries_per_s": got["deliveries"] / took,
        "p50_ms": percentile(delays, 0.5) / 1000,
        "p99_ms": percentile(delays, 0.99) / 1000,
        "p999_ms": percentile(delays, 0.999) / 1000,
        "messages_per_read": got["deliveries"] / got["reads"],
        "server_share": cpu / took,
        "waiting_share": waited / took,
        "generator_share": got["cpu_s"] / took,
        "publisher_share": sent["cpu_s"] / took,
        "publisher_late_ms": 1000 * sent["late_s"],
        "seconds": took,
    }
