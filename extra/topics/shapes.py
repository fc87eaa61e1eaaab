"""The shapes of filters: the spellings under which a filter that matches a topic would stand in a dict.

The shape of a filter is where its wildcards stand. For each shape, a topic has one spelling at most: its own
levels, with wildcards where the shape has them. So filters of few shapes need no trie: each shape is one
look-up of a spelling, however many the filters.

    shape of a/+/#, b/+/#     a/b/c/d -> a/+/#
    shape of user/17/inbox/+  a/b/c/d -> a/b/c/+
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

__all__ = ["SHAPES_LIMIT", "Shape", "Shapes"]

SHAPES_LIMIT: Final = 8
"""So many shapes are asked one after the other; the filters of others go into the trie."""


@final
@mypyc_attr(native_class=True)
class Shape:
    """Filters with `depth` levels, of which those at `singles` are `+`, and if `is_deep` a `#` behind them.

    `is_asked` says that they are looked up by spelling; it stays so while there are any, `count`.
    """

    __slots__ = ("count", "depth", "is_asked", "is_deep", "singles")

    def __init__(self, depth: int, singles: list[int], is_deep: bool, is_asked: bool) -> None:
        self.depth = depth
        self.singles = singles
        self.is_deep = is_deep
        self.is_asked = is_asked
        self.count = 0

    def spelling(self, levels: list[str]) -> str:
        """Return how the filter of this shape that matches a topic is spelled; empty when none can.

        `levels` are those of the topic.
        """
        if self.is_deep:
            if len(levels) < self.depth:
                return ""
            kept = levels[: self.depth]
            kept.append("#")
        elif len(levels) != self.depth:
            return ""
        else:
            kept = levels.copy()
        for position in self.singles:
            kept[position] = "+"
        if not kept[0].startswith("$") and levels[0].startswith("$"):  # [MQTT-4.7.2-1]
            return ""
        return "/".join(kept)


@final
@mypyc_attr(native_class=True)
class Shapes:
    """The shapes of a set of filters with wildcards. Its owner knows which those are.

    Holds one entry per shape that any of them has. The first `SHAPES_LIMIT` are asked by spelling; when one
    of those has no filter left, the next new shape takes its place. A shape never changes sides while it has
    filters: moving a million from one to the other would hold up everything else.
    """

    __slots__ = ("_asked", "_shapes")

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}
        self._asked: list[Shape] = []

    def add(self, topic_filter: str) -> bool:
        """Count a filter; return whether it is looked up by spelling. Cost: a step per level."""
        name = _name(topic_filter)
        shape = self._shapes.get(name)
        if shape is None:
            levels = topic_filter.split("/")
            is_deep = levels[-1] == "#"
            depth = len(levels) - 1 if is_deep else len(levels)
            singles = [position for position in range(depth) if levels[position] == "+"]
            shape = Shape(depth, singles, is_deep, len(self._asked) < SHAPES_LIMIT)
            self._shapes[name] = shape
            if shape.is_asked:
                self._asked.append(shape)
        shape.count += 1
        return shape.is_asked

    def remove(self, topic_filter: str) -> bool:
        """Count a filter no longer; return whether it was looked up by spelling. Cost: as for `add`."""
        name = _name(topic_filter)
        shape = self._shapes[name]
        shape.count -= 1
        if shape.count == 0:
            del self._shapes[name]
            if shape.is_asked:
                self._asked.remove(shape)
        return shape.is_asked

    def spellings(self, topic: str) -> list[str]:
        """Return the filters that would match `topic`, of those shapes that are looked up so."""
        found: list[str] = []
        if self._asked:
            levels = topic.split("/")
            for shape in self._asked:
                spelling = shape.spelling(levels)
                if spelling:
                    found.append(spelling)
        return found


def _name(topic_filter: str) -> str:
    """Return the shape of a filter as a string: a letter per level."""
    levels = topic_filter.split("/")
    return "".join([level if level == "+" or level == "#" else "x" for level in levels])
