"""What commands are told on the command line: the grammar of options, and how `--help` shows them.

`--name VALUE`, `--name=VALUE`; a switch is `--name`, or `--name=false` to take it back. Options and arguments
may mix; after `--` all are arguments; `-` is one anywhere. Not argparse: its abbreviations would turn any new
option into a change of meaning, and there are some seventy settings to show by section.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from broker.suggestions import suggestion

__all__ = ["HELP_OPTION", "Option", "UsageError", "help_table", "parse_arguments"]

WIDTH_COLUMNS: Final = 100
"""How wide help is made where no terminal says otherwise, and at most."""

NARROWEST_COLUMNS: Final = 60


class UsageError(Exception):
    """The command line makes no sense. Says which word, and what would."""


@final
@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command. Without `metavar` it is a switch; `default` is what help says it is."""

    flag: str
    metavar: str
    help: str
    default: str = ""


HELP_OPTION: Final = Option("--help", "", "show this and exit")


def parse_arguments(
    words: Sequence[str], options: Iterable[Option]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options that `words` hold, in order, each as its flag and its text, and the arguments.

    The text of a switch without one is `true`.

    Raises:
        UsageError: an option is unknown or lacks its value.
    """
    known = {option.flag: option for option in options}
    given: list[tuple[str, str]] = []
    arguments: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            arguments.extend(rest)
        elif word == "-" or not word.startswith("-"):
            arguments.append(word)
        else:
            flag, equals, text = word.partition("=")
            flag = "--help" if flag == "-h" else flag
            if flag not in known:
                hint = suggestion(flag, known, "put -- before an argument that begins with a dash")
                raise UsageError(f"no option {flag}: {hint}")
            if not equals and known[flag].metavar:
                value = next(rest, None)
                if value is None:
                    raise UsageError(f"{flag} lacks its value: {flag} {known[flag].metavar}")
                text = value
            given.append((flag, text if equals or known[flag].metavar else "true"))
    return given, arguments


def help_table(options: Iterable[Option]) -> str:
    """Return lines that show the options in two columns, as wide as the terminal."""
    from textwrap import wrap  # slow to import, and needed for nothing else

    rows = []
    for option in options:
        explained = f"{option.help} [{option.default}]" if option.default else option.help
        rows.append((f"  {option.flag} {option.metavar}".rstrip(), explained))
    column = max(len(left) for left, _ in rows) + 2
    lines = []
    for left, right in rows:
        wrapped = wrap(right, max(_width() - column, NARROWEST_COLUMNS // 2), break_long_words=False)
        lines.append(f"{left:<{column}}{wrapped[0]}")
        lines.extend(" " * column + line for line in wrapped[1:])
    return "\n".join(lines)


def _width() -> int:
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:  # standard output is no terminal
        return WIDTH_COLUMNS
    return max(NARROWEST_COLUMNS, min(columns, WIDTH_COLUMNS))
