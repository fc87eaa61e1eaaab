"""Patterns of paths, taken apart into levels.

    /rooms/{room}/users/{user:int}      a parameter stands for one level
    /archive/{year:int}-{month:int}     or for a part of one, with text around it
    /files/{name:path}, /{any}          the last one may stand for the rest, which can be empty

Level by level is how a router looks at them, and how the topics of a service are written, too.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from extra.http.convertors import CONVERTORS, Convertor

__all__ = ["Level", "Pattern", "parse_pattern"]

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}")

TEXT: Final = 0
MIXED: Final = 1
TYPED: Final = 2
ANY_LEVEL: Final = 3
REST: Final = 4


class Level:
    """One level of a pattern. Of levels that match the same text, the one of lower `rank` is the better.

    One that is `repeatable` takes the same of the same text whenever it is asked.
    """

    __slots__ = ("convertors", "names", "rank", "regex", "repeatable", "text")

    def __init__(
        self, text: str, names: tuple[str, ...], convertors: tuple[Convertor, ...], regex: str
    ) -> None:
        self.text = text
        self.names = names
        self.convertors = convertors
        self.repeatable = all(each in CONVERTORS.values() for each in convertors)
        self.regex = re.compile(regex) if regex else None  # only where there is text around parameters
        if not names:
            self.rank = TEXT
        elif regex:
            self.rank = MIXED
        elif convertors[0].rest:
            self.rank = REST
        elif convertors[0] is CONVERTORS["str"]:
            self.rank = ANY_LEVEL
        else:
            self.rank = TYPED

    @property
    def shape(self) -> tuple[object, ...]:
        """What makes it match what it matches: the same for levels that differ in their names alone."""
        return (self.text if not self.names else "", self.regex, self.convertors)


class Pattern:
    """A pattern and its levels. `names` and `kinds` are those of its parameters, from left to right."""

    __slots__ = ("convertors", "kinds", "levels", "names", "text", "typed")

    def __init__(self, text: str, levels: tuple[Level, ...]) -> None:
        self.text = text
        self.levels = levels
        self.names = tuple(name for level in levels for name in level.names)
        self.convertors = tuple(each for level in levels for each in level.convertors)
        self.kinds = dict(zip(self.names, self.convertors, strict=True))
        self.typed = any(each.convert is not str for each in self.convertors)  # values are not just text


def parse_pattern(text: str, convertors: Mapping[str, Convertor] = CONVERTORS) -> Pattern:
    """Take `text` apart, which starts with a slash.

    Raises:
        ValueError: it is no pattern, names a parameter twice, or a kind that is not among `convertors`.
    """
    if not text.startswith("/"):
        raise ValueError(f"pattern {text!r} does not start with a slash")
    parts = text[1:].split("/")
    levels = tuple(
        _parse_level(part, text, convertors, last=n == len(parts)) for n, part in enumerate(parts, 1)
    )
    pattern = Pattern(text, levels)
    if len(set(pattern.names)) != len(pattern.names):
        raise ValueError(f"pattern {text!r} has two parameters of one name")
    return pattern


def _parse_level(part: str, pattern: str, convertors: Mapping[str, Convertor], *, last: bool) -> Level:
    names: list[str] = []
    kinds: list[Convertor] = []
    expression = ""
    literal = ""
    end = 0
    for found in PARAMETER.finditer(part):
        name, kind = found.groups()
        kind = kind or ("any" if name == "any" else "str")
        if kind not in convertors:
            raise ValueError(
                f"pattern {pattern!r}: no kind {kind!r} of parameter, there is {', '.join(convertors)}"
            )
        convertor = convertors[kind]
        if convertor.rest and (not last or found.group() != part):
            raise ValueError(
                f"pattern {pattern!r}: {found.group()} takes the rest, it has to be the last level"
            )
        names.append(name)
        kinds.append(convertor)
        literal += part[end : found.start()]
        between = re.escape(_as_sent(part[end : found.start()]))
        expression += f"{between}({_without_groups(convertor.pattern)})"
        end = found.end()
    literal += part[end:]
    if "{" in literal or "}" in literal:
        raise ValueError(f"malformed pattern {pattern!r}")
    is_mixed = len(names) > 1 or (names and literal)
    expression += re.escape(_as_sent(part[end:]))
    return Level(
        part if names else _as_sent(part), tuple(names), tuple(kinds), expression if is_mixed else ""
    )


def _as_sent(text: str) -> str:
    """Return what stands in a request for text in a pattern, which may be escaped already."""
    return quote(text, safe="!$&'()*+,;=:@-._~%")


def _without_groups(expression: str) -> str:
    """Return an expression whose groups do not count, so that those around parameters can be counted."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", expression)
