"""What one more subscriber costs: the server's processor time per delivery.

Beside a bare protocol in the same run.

    make bench                                     or, for other figures:
    python -m loadtest.bench --rates 100,1000 --subscribers 500 --rounds 5

Each round measures every server once, one after the other, so that what else the machine does falls on all
alike; the figures are medians over the rounds. Processor time is read from /proc before and after. Absolute
times mean little on a shared machine, the ratio does. A round in which a message was lost or doubled ends the
run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Target:
    """A server under load: how to start it, and where to subscribe and publish."""

    name: str
    command: list[str]
    subscribe_path: str
    publish_path: str
    form: str


TARGETS = [
    Target("floor: bare uvloop protocol", ["-m", "loadtest.floor"], "/", "/publish", "raw"),
    Target(
        "extra-broker", ["-m", "broker", "--port", "0", "--log-level", "warning"], "/t/bench", "/ws", "extra"
    ),
]


def main() -> int:
    """Measure, and print a table and a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--rates", default="100,1000", help="messages a second, separated by commas")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--payload-bytes", type=int, default=128)
    arguments = parser.parse_args()
    mode = subprocess.run(
        [sys.executable, "-c", "import extra; print('compiled' if extra.COMPILED else 'interpreted')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    say(f"{mode}, Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores")
    for rate in (int(each) for each in arguments.rates.split(",")):
        figures: dict[str, list[dict[str, float]]] = {target.name: [] for target in TARGETS}
        for _ in range(arguments.rounds):
            for target in TARGETS:
                figures[target.name].append(measure(target, rate, arguments))
        tell(rate, figures, mode, arguments)
    return 0


def measure(target: Target, rate: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one load against one server. Raises RuntimeError when anything was lost or doubled."""
    with started(target.command) as (server, port):
        load = [
            *(str(port), target.subscribe_path, target.publish_path, target.form),
            *(
                str(each)
                for each in (arguments.subscribers, rate, arguments.seconds, arguments.payload_bytes)
            ),
        ]
        generator = subprocess.Popen(
            [sys.executable, "-m", "loadtest.generator", *load],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert generator.stdin is not None
        assert generator.stdout is not None
        try:
            generator.stdout.readline()
            before = cpu_seconds(server.pid)
            generator.stdin.write("go\n")
            generator.stdin.flush()
            figures: dict[str, float] = json.loads(generator.stdout.readline())
            cpu = cpu_seconds(server.pid) - before
        finally:
            generator.kill()
            generator.communicate()
    if figures["lost"]:
        raise RuntimeError(
            f"{target.name} at {rate}/s: {figures['lost']} deliveries lost (negative: doubled)"
        )
    figures["us_per_delivery"] = 1e6 * cpu / figures["deliveries"]
    figures["generator_share"] = figures["generator_cpu_s"] / figures["seconds"]
    figures["server_share"] = cpu / figures["seconds"]
    return figures


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server that prints its port or its URL, and end it."""
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server, int(server.stdout.readline().strip().rpartition(":")[2].strip("/"))
    finally:
        server.kill()
        server.communicate()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in user and kernel mode (proc(5).

    Fields 14 and 15).
    """
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tell(
    rate: int, figures: dict[str, list[dict[str, float]]], mode: str, arguments: argparse.Namespace
) -> None:
    """Print the medians of all rounds, and for each round its ratio to the floor."""
    floor = figures[TARGETS[0].name]
    say(f"\n{arguments.subscribers} subscribers, {arguments.payload_bytes} bytes, {rate} messages a second")
    say(
        f"{'':30} {'us/delivery':>12} {'ratio':>7} {'p50 ms':>8} {'p99 ms':>8} {'server':>7} {'generator':>9}"
    )
    for name, rounds in figures.items():
        ratio = median(
            each["us_per_delivery"] / low["us_per_delivery"] for each, low in zip(rounds, floor, strict=True)
        )
        row = {key: median(each[key] for each in rounds) for key in rounds[0]}
        say(
            f"{name:30} {row['us_per_delivery']:12.2f} {ratio:7.2f} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f}"
            f" {row['server_share']:7.0%} {row['generator_share']:9.0%}"
        )
        figure = {"name": name, "rate": rate, "mode": mode, "ratio": ratio, "rounds": len(rounds), **row}
        say(json.dumps(figure))


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
