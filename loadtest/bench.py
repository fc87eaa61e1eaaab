"""What the broker costs, beside a bare protocol in the same run.

    make bench                                            every subject, in short
    make bench ARGS="fanout --rate 1000 --rounds 5"       one subject
    make bench ARGS="fanout --help"                       what can be chosen there

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
from loadtest.processes import raise_descriptor_limit, run_ahead
from loadtest.report import Report, say
from loadtest.scenarios import (
    channels,
    fanout,
    groups,
    match,
    memory,
    presence,
    profiles,
    publish,
    resume,
    serving,
    stalled,
    store,
    topics,
)

__all__ = ["main"]

SCENARIOS: Final[dict[str, ModuleType]] = {
    "fanout": fanout,
    "topics": topics,
    "publish": publish,
    "memory": memory,
    "stalled": stalled,
    "resume": resume,
    "store": store,
    "groups": groups,
    "serving": serving,
    "presence": presence,
    "match": match,
    "channels": channels,
    "profile": profiles,
}


def main(arguments: list[str]) -> int:
    """Measure what is asked for, and return the exit status."""
    named = [arguments[0]] if arguments and arguments[0] in SCENARIOS else []
    chosen = parser_for(*named).parse_args(arguments[len(named) :])
    raise_descriptor_limit()
    if chosen.ahead:
        run_ahead()
    report = Report(is_markdown=chosen.markdown)
    report.begin()
    failures = 0
    for name in named or [each for each in SCENARIOS if each != "profile"]:
        options = chosen if named else parser_for(name).parse_args(arguments)
        try:
            options.rounds = options.rounds or SCENARIOS[name].ROUNDS
            SCENARIOS[name].run(report, options)
        except (Mismatch, ChildProcessError) as error:
            say(f"FAILED: {name}: {error}")
            failures += 1
    return 1 if failures else 0


def parser_for(name: str = "") -> argparse.ArgumentParser:
    """Return the parser of one subject's options, or of those that all subjects have."""
    if name:
        parser = argparse.ArgumentParser(f"bench {name}", description=SCENARIOS[name].__doc__)
        SCENARIOS[name].add_arguments(parser)
        rounds = f"medians of so many; {SCENARIOS[name].ROUNDS} without it"
    else:
        subjects = "\n".join(f"    {each:12}{summary(module)}" for each, module in SCENARIOS.items())
        parser = argparse.ArgumentParser(
            "bench",
            usage="bench [SUBJECT] [options]",
            description=f"{__doc__}\nsubjects:\n{subjects}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        rounds = "medians of so many; each subject has its own number without it"
    parser.add_argument("--rounds", type=int, help=rounds)
    parser.add_argument(
        "--ahead", action="store_true", help="run ahead of everything else on a busy machine; needs root"
    )
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    return parser


def summary(scenario: ModuleType) -> str:
    """Return the first line of its docstring."""
    return (scenario.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
