"""Where a reader stands in the log: positions, the cursors that clients hold, and `since`.

A cursor is `EPOCH-OFFSET`, or `EPOCH-OFFSET-KNOWN` when the reader has been told already that messages up to
offset `KNOWN` are lost: going on from there is then no second loss. Clients take it as opaque.
"""

import re
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCursor

__all__ = ["LAST_LIMIT", "Position", "Since", "format_cursor", "parse_cursor", "parse_since"]

LAST_LIMIT: Final = 10_000
"""The largest N of `last:N`: resolving it walks the log backwards over so many matches."""

CURSOR: Final = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?", re.ASCII)


@final
@mypyc_attr(native_class=True)
class Position:
    """An offset within one life of the log. `known` is the offset up to which loss has been told, or 0."""

    __slots__ = ("epoch", "known", "offset")

    def __init__(self, epoch: str, offset: int, known: int = 0) -> None:
        self.epoch = epoch
        self.offset = offset
        self.known = known

    def __repr__(self) -> str:
        return f"Position({format_cursor(self.epoch, self.offset, self.known)!r})"


@final
@mypyc_attr(native_class=True)
class Since:
    """A parsed `since`: exactly one of the four is meant.

    `kind` is "start", "now", "last" (then `count` says how many) or "cursor" (then `position` is set).
    """

    __slots__ = ("count", "kind", "position")

    def __init__(self, kind: str, count: int = 0, position: Position | None = None) -> None:
        self.kind = kind
        self.count = count
        self.position = position


def format_cursor(epoch: str, offset: int, known: int = 0) -> str:
    """Return the cursor of a position; `known` is left out unless it lies ahead of `offset`."""
    if known > offset:
        return f"{epoch}-{offset}-{known}"
    return f"{epoch}-{offset}"


def parse_cursor(text: str) -> Position:
    """Read a cursor.

    Raises:
        InvalidCursor: `text` is not of the form that `format_cursor` gives.
    """
    found = CURSOR.fullmatch(text)
    if found is None:
        raise InvalidCursor(f"not a cursor: {text[:80]!r}")
    return Position(found[1], int(found[2]), int(found[3] or 0))


def parse_since(text: str) -> Since:
    """Read `start`, `now`, `last:N` (N from 0 to `LAST_LIMIT`) or a cursor.

    Raises:
        InvalidCursor: it is none of them.
    """
    if text in ("start", "now"):
        return Since(text)
    if text.startswith("last:"):
        digits = text[5:]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(digits) > LAST_LIMIT:
            raise InvalidCursor(f"since {text[:80]!r}: last:N takes a whole number from 0 to {LAST_LIMIT}")
        return Since("last", count=int(digits))
    if "-" not in text:
        raise InvalidCursor(f"since {text[:80]!r}: a cursor, 'start', 'now' or 'last:N'")
    return Since("cursor", position=parse_cursor(text))
