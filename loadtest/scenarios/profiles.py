"""Where a server's time goes, by library: needs perf(1). Not among what is measured without a subject.

The shares are those of samples that `perf record` takes of the server while it is under load: "compiled" are
the modules that mypyc compiles, "interpreter" is all Python besides, with the C code of its own types, which
compiled modules call as well. `--keep DIRECTORY` leaves the recordings there, for `perf report`.
"""

import re
import shutil
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from loadtest.children import poster, publisher, subscribers
from loadtest.generator.plan import Group, Plan
from loadtest.processes import Server
from loadtest.report import Column, Report
from loadtest.rounds import interleaved
from loadtest.targets import EXTRA, EXTRA_EVENTS, FLOOR, HELLO, Target

__all__ = ["ROUNDS", "add_arguments", "run"]

ROUNDS = 1
SUBSCRIBERS = 500
SECONDS = 3.0
SAMPLES_PER_SECOND = 2000
PIPELINED_MESSAGES = 400_000
REQUESTS = 80_000
SHARE = re.compile(r"^ +(\d+\.\d+)%  (\S+)", re.MULTILINE)
LIBRARIES = {
    "kernel": "kernel",
    "libpython3": "interpreter",
    "python3": "interpreter",
    "extra_broker__mypyc": "compiled",
    "loop": "uvloop",
    "parser": "httptools",
    "_core": "msgspec",
    "libc": "libc",
}
"""What a library is called in the table, by the first part of its file's name."""

Load = Callable[[Target, Server], None]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="of the recordings")


def run(report: Report, arguments: Namespace) -> None:
    """Record each. Raises ChildProcessError without perf."""
    if shutil.which("perf") is None:
        raise ChildProcessError("perf is not installed: on Debian, apt-get install linux-perf")
    subjects: dict[str, tuple[Target, Load]] = {}
    for rate in (100, 1000):
        for name, target in {"floor": FLOOR, "WebSocket": EXTRA, "SSE": EXTRA_EVENTS}.items():
            subjects[f"{name}, {rate}/s to {SUBSCRIBERS}"] = (target, partial(fan_out, rate=rate))
    subjects["publish, WebSocket"] = (EXTRA, pipeline)
    subjects["publish, POST"] = (EXTRA, post)
    subjects["httptools hello"] = (HELLO, post)
    with tempfile.TemporaryDirectory() as place:
        kept = arguments.keep or Path(place)
        kept.mkdir(exist_ok=True)
        rows = interleaved(
            {name: (name, *subject) for name, subject in subjects.items()},
            arguments.rounds,
            lambda subject: measure(*subject, kept),
        )
    columns = [Column(key, key, "{:.0%}") for key in dict.fromkeys(LIBRARIES.values())]
    report.table("share of the server's time", columns, rows, scenario="profile")


def measure(name: str, target: Target, load: Load, place: Path) -> dict[str, float]:
    """Return the share of each library."""
    recording = place / re.sub(r"\W+", "-", name)
    with target.start() as server, recorded(server, recording):
        load(target, server)
    report = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", "-g", "none", "--sort", "dso", "-i", str(recording)],
        capture_output=True,
        text=True,
        check=True,
    )
    shares = dict.fromkeys(LIBRARIES.values(), 0.0)
    for share, library in SHARE.findall(report.stdout):
        name = library.strip("[]").partition(".")[0]
        if name in LIBRARIES:
            shares[LIBRARIES[name]] += float(share) / 100
    return shares


@contextmanager
def recorded(server: Server, recording: Path) -> Iterator[None]:
    """Record the server while the load goes on."""
    options = ["-q", "-g", "-F", str(SAMPLES_PER_SECOND), "-o", str(recording)]
    perf = subprocess.Popen(["perf", "record", *options, "-p", str(server.process.pid)])
    try:
        time.sleep(0.3)  # until it samples: what it misses are the first messages
        yield
    finally:
        perf.terminate()
        perf.wait()


def fan_out(target: Target, server: Server, rate: int) -> None:
    """Publish to many."""
    plan = Plan(server.port, target.dialect, (Group(SUBSCRIBERS),))
    count = int(rate * SECONDS)
    with subscribers(plan) as everybody, publisher(plan) as publishing:
        publishing.tell("publish", count=count, rate=rate)
        everybody.ask("expect", count=count)
        publishing.answer()


def pipeline(target: Target, server: Server) -> None:
    """Publish as fast as it is taken, over one WebSocket."""
    with publisher(Plan(server.port, target.dialect)) as publishing:
        publishing.ask("pipeline", count=PIPELINED_MESSAGES)


def post(target: Target, server: Server) -> None:
    """Publish by POST, over 64 connections."""
    with poster(server.port, 64, REQUESTS, 128) as posting:
        posting.ask("post")
