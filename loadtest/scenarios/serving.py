"""What a request costs: our server under an ASGI application and under services, beside uvicorn."""

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from loadtest.processes import Server, announced, free_port, running_at
from loadtest.report import Column, Report, ratios
from loadtest.rounds import interleaved
from loadtest.targets import HELLO
from loadtest.wrk import hammer

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 5

SERVERS = "loadtest.servers"
COLUMNS = [
    Column("per_s", "requests/s", "{:,.0f}"),
    Column("ratio", "ratio"),
    Column("us", "us/request"),
    Column("us_ratio", "ratio"),
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("server_share", "server", "{:.0%}"),
]

Started: TypeAlias = Callable[[], AbstractContextManager[Server]]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=2)


def run(report: Report, arguments: Namespace) -> None:
    """Measure both applications, and the routes. Raises Mismatch when a request has failed."""
    measure = partial(served, connections=arguments.connections, seconds=arguments.seconds)
    common = {"scenario": "serving", "connections": arguments.connections}
    rows = interleaved(
        {
            "uvicorn": (partial(uvicorn, f"{SERVERS}.raw_hello:app"), "/"),
            "extra run": (partial(extra_run, "raw_hello:app"), "/"),
        },
        arguments.rounds,
        measure,
    )
    ratios(rows, "per_s", "uvicorn")
    ratios(rows, "us", "uvicorn", into="us_ratio")
    report.table("a raw ASGI hello", COLUMNS, rows, way="asgi", **common)
    rows = interleaved(
        {
            "uvicorn": (partial(uvicorn, f"{SERVERS}.raw_hello:app"), "/"),
            "extra run": (partial(extra_run, "raw_hello:app"), "/"),
        },
        arguments.rounds,
        partial(measure, is_pipelined=True),
    )
    ratios(rows, "per_s", "uvicorn")
    ratios(rows, "us", "uvicorn", into="us_ratio")
    report.table("a raw ASGI hello, 16 requests sent ahead", COLUMNS, rows, way="asgi, pipelined", **common)
    rows = interleaved(
        {
            "httptools hello": (HELLO.start, "/"),
            "service, extra run": (partial(extra_run, "services:hello"), "/"),
            "Starlette on uvicorn": (partial(uvicorn, f"{SERVERS}.starlette_hello:app"), "/"),
        },
        arguments.rounds,
        measure,
    )
    ratios(rows, "per_s", "httptools hello")
    ratios(rows, "us", "httptools hello", into="us_ratio")
    report.table("a decorated service's hello", COLUMNS, rows, way="service", **common)
    rows = interleaved(
        {
            "10 routes": (partial(extra_run, "services:routes_10"), "/route-9/x"),
            "1,000 routes": (partial(extra_run, "services:routes_1000"), "/route-999/x"),
        },
        arguments.rounds,
        measure,
    )
    ratios(rows, "per_s", "10 routes")
    ratios(rows, "us", "10 routes", into="us_ratio")
    report.table("routing, a parameter in the path", COLUMNS, rows, way="routing", **common)


def served(
    what: tuple[Started, str], connections: int, seconds: int, *, is_pipelined: bool = False
) -> dict[str, float]:
    """Start a server, keep it busy, and return what came of it."""
    start, path = what
    with start() as server:
        hammer(
            server.port, path, connections, 1, is_pipelined=is_pipelined
        )  # what is done once, and compiled code that is warm
        before = server.cpu_s()
        done = hammer(server.port, path, connections, seconds, is_pipelined=is_pipelined)
        cpu = server.cpu_s() - before
    return {
        "per_s": done["per_s"],
        "us": 1e6 * cpu / done["requests"],
        "p50_ms": done["p50_ms"],
        "p99_ms": done["p99_ms"],
        "server_share": cpu / (done["requests"] / done["per_s"]),
    }


def extra_run(name: str) -> AbstractContextManager[Server]:
    """Start our server, without a log of its requests."""
    return announced(
        "-m", "extra", "run", f"{SERVERS}.{name}", "--port", "0", "--no-access-log", "--log-level", "warning"
    )


@contextmanager
def uvicorn(application: str) -> Iterator[Server]:
    """Start uvicorn as fast as it goes: httptools, uvloop, no log of its requests, no lifespan."""
    port = free_port()
    options = ("--http", "httptools", "--loop", "uvloop", "--no-access-log", "--lifespan", "off")
    command = (sys.executable, "-m", "uvicorn", application, "--port", str(port), *options)
    with (
        tempfile.TemporaryDirectory() as place,
        running_at(port, *command, "--log-level", "warning", log=Path(place) / "log") as server,
    ):
        yield server
