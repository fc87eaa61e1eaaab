"""Ways to cut a stream of bytes: in one piece, byte by byte, anywhere."""

from itertools import pairwise

from hypothesis import strategies as st

__all__ = ["cuts", "pieces"]


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at `places`, which may lie beyond its end."""
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


def cuts() -> st.SearchStrategy[list[int]]:
    """Places to cut at: a few, or every one of a short stream."""
    return st.one_of(
        st.lists(st.integers(0, 20) | st.integers(0, 10_000), max_size=12), st.just(list(range(400)))
    )
