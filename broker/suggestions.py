"""What a mistyped name was meant to be."""

from collections.abc import Iterable

__all__ = ["suggestion"]

LOOKED_AT_CHARACTERS = 80
"""Comparing costs the square of the length, and no name of ours comes near this."""


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return `did you mean X?` with the known name that `name` is like, or else `otherwise`.

    A known name that ends in a dot and `name`'s last part is liked best: `port` is `server.port`.
    """
    from difflib import get_close_matches  # not needed unless something is wrong

    candidates = list(known)
    last_part = name.rpartition(".")[2]
    alike = [candidate for candidate in candidates if candidate.endswith(f".{last_part}")]
    alike = alike or get_close_matches(name[:LOOKED_AT_CHARACTERS], candidates, 1)
    return f"did you mean {alike[0]}?" if alike else otherwise
