"""What the broker costs, beside a bare protocol in the same run.

    make bench                                            everything, in short
    make bench ARGS="fanout --rate 1000 --rounds 5"       one subject: fanout, memory
    make bench ARGS="fanout --help"

The figure is the processor time of the server and its memory, read from the kernel, and its ratio to the
floor in the same round: servers are measured in turn, and the figures are medians over the rounds. Absolute
times mean little on a shared machine. A run in which a message was lost, doubled or reordered is not
reported: the first case is shown, and the exit status is 1.
"""

import argparse
import sys
from types import ModuleType
from typing import Final

from loadtest.generator.checks import Mismatch
from loadtest.processes import raise_descriptor_limit
from loadtest.report import Report, say
from loadtest.scenarios import fanout, memory

__all__ = ["main"]

SCENARIOS: Final[dict[str, ModuleType]] = {"fanout": fanout, "memory": memory}


def main(arguments: list[str]) -> int:
    """Measure what is asked for, and return the exit status."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = parser.add_subparsers(dest="scenario", metavar="SUBJECT")
    for name, scenario in SCENARIOS.items():
        subject = subjects.add_parser(name, help=summary(scenario), description=scenario.__doc__)
        subject.add_argument("--rounds", type=int, default=3)
        scenario.add_arguments(subject)
    chosen = parser.parse_args(arguments)
    raise_descriptor_limit()
    report = Report()
    report.begin()
    failures = 0
    for name in [chosen.scenario] if chosen.scenario else SCENARIOS:
        asked = chosen if chosen.scenario else parser.parse_args([name])
        try:
            SCENARIOS[name].run(report, asked)
        except Mismatch as error:
            say(f"FAILED: {name}: {error}")
            failures += 1
    return 1 if failures else 0


def summary(scenario: ModuleType) -> str:
    """Return the first line of its docstring."""
    return (scenario.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
