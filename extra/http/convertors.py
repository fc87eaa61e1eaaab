"""What a parameter of a path may look like, and what it becomes."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final
from uuid import UUID

from mypy_extensions import mypyc_attr

__all__ = ["CONVERTORS", "Convertor"]


@mypyc_attr(allow_interpreted_subclasses=True)
class Convertor:
    """How one kind of parameter, `{name:kind}`, is recognized and converted.

    `pattern` is a regular expression for the whole of its text, decoded; `convert` makes the value, and
    raises ValueError for a text that only looks right. Either way the route does not match, and others are
    tried. A kind with `rest` takes all levels that are left, slashes included, and may be empty; the others
    take one level, or a part of one, that is not.

    `gives` is the type of the values; of a `convert` that is no class it is not known (None) unless given.
    """

    __slots__ = ("convert", "fullmatch", "gives", "pattern", "rest")

    def __init__(
        self,
        pattern: str,
        convert: Callable[[str], object] = str,
        *,
        rest: bool = False,
        gives: type | None = None,
    ) -> None:
        self.pattern = pattern
        self.convert = convert
        self.rest = rest
        self.gives = gives if gives is not None or not isinstance(convert, type) else convert
        self.fullmatch = re.compile(pattern).fullmatch

    def parse(self, text: str) -> object:
        """Return the value of `text`. Raises ValueError when it is not of this kind."""
        if self.fullmatch(text) is None:
            raise ValueError
        return self.convert(text)


class _Anything(Convertor):
    """Takes any text as it is: what most parameters are, and costs nothing."""

    __slots__ = ()

    def __init__(self, *, rest: bool = False) -> None:
        super().__init__("(?s:.*)" if rest else "[^/]+", rest=rest)

    def parse(self, text: str) -> object:
        return text


CONVERTORS: Final[Mapping[str, Convertor]] = {
    "str": _Anything(),
    "int": Convertor(r"-?[0-9]{1,300}", int),
    "float": Convertor(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?", float),
    "uuid": Convertor(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", UUID),
    "date": Convertor(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date.fromisoformat, gives=date),
    "slug": Convertor(r"[A-Za-z0-9_-]+"),
    "path": _Anything(rest=True),
    "any": _Anything(rest=True),
}
"""The kinds that every router knows. A parameter without a kind is `str`; only `{any}` is `{any:any}`."""
