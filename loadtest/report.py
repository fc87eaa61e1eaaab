"""What was measured, as a table for people and a line of JSON per figure for machines."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from loadtest.processes import ROOT

__all__ = ["Column", "Report", "Rows", "percentile", "ratios", "say"]

Rows = dict[str, list[dict[str, float]]]
"""The rounds of each row, by its name: figures by their key."""

NEAR_ITS_LIMIT: Final = 0.9
"""A generator that uses so much of its core may have been what was measured."""


MUCH_WAITING: Final = 0.2
"""A server that waits so much for a core does several deliveries with each write."""


@dataclass(frozen=True)
class Column:
    """One figure of each row: `key` names it in the JSON, `form` formats it in the table."""

    key: str
    title: str
    form: str = "{:.2f}"


@dataclass
class Report:
    """Collects the rounds of each row, prints medians. `is_markdown` is for documents."""

    environment: dict[str, Any] = field(default_factory=lambda: surroundings())
    is_markdown: bool = False

    def begin(self) -> None:
        """Say on what this was measured."""
        say("  ".join(f"{key}={value}" for key, value in self.environment.items()))

    def table(self, title: str, columns: list[Column], rows: Rows, **parameters: object) -> None:
        """Print the medians of the rounds of each row. A figure that a row has not got stays empty."""
        medians = {
            name: {key: median(each[key] for each in rounds) for key in rounds[0]}
            for name, rounds in rows.items()
        }
        lines = [["", *[column.title for column in columns]]]
        for name, figures in medians.items():
            cells = [
                column.form.format(figures[column.key]) if column.key in figures else "" for column in columns
            ]
            lines.append([name, *cells])
        say(f"\n{title}")
        for line in _markdown(lines) if self.is_markdown else _aligned(lines):
            say(line)
        for name, figures in medians.items():
            if figures.get("generator_share", 0.0) > NEAR_ITS_LIMIT:
                say(f"{name}: the generator was near its core's limit: rate and latency may be its own")
            if figures.get("waiting_share", 0.0) > MUCH_WAITING:
                say(f"{name}: waited for a core, and coalesced meanwhile: its ratio means little (--ahead)")
        for name, figures in medians.items():
            figure = {"figure": title, **parameters, "name": name, "rounds": len(rows[name]), **figures}
            say(json.dumps({**figure, **self.environment}))


def ratios(rows: Rows, key: str, to: str, into: str = "ratio") -> None:
    """Add to each round of each row its ratio to the same round of the row `to`."""
    for rounds in rows.values():
        for each, low in zip(rounds, rows[to], strict=True):
            each[into] = each[key] / low[key]


def percentile(ordered: list[int], share: float) -> float:
    """Return the value below which `share` of a sorted list lies; 0 of an empty one."""
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else 0.0


def surroundings() -> dict[str, Any]:
    """Return commit, mode and machine."""
    mode = "import extra; print('compiled' if extra.COMPILED else 'interpreted')"
    return {
        "commit": _output("git", "rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_output("git", "status", "--porcelain")),
        "mode": _output(sys.executable, "-c", mode),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _aligned(lines: list[list[str]]) -> Iterator[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield "  ".join([line[0].ljust(widths[0]), *cells])


def _markdown(lines: list[list[str]]) -> Iterator[str]:
    yield f"\n| {' | '.join(lines[0])} |"
    yield f"| --- |{' ---: |' * (len(lines[0]) - 1)}"
    for line in lines[1:]:
        yield f"| {' | '.join(line)} |"


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip()


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
