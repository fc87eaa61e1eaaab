"""Several filters as one question: does any of them match this topic?"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.topics.names import matches
from extra.topics.tree import FilterTree

__all__ = ["FilterUnion"]

FEW: Final = 8
"""Up to so many filters are tried one after the other; more are asked as a tree."""


@final
@mypyc_attr(native_class=True)
class FilterUnion:
    """The topics that any of `filters` matches.

    Cost of a question: one match per filter when they are few, else that of a `FilterTree`, however many they
    are. Making it costs a step per filter. `steps` counts what the questions so far have cost, each one at
    least: with hundreds of filters made to be hard, a question can cost a step for each.
    """

    __slots__ = ("filters", "found", "steps", "tree")

    def __init__(self, filters: list[str]) -> None:
        """Raise InvalidFilter when one of `filters` is none."""
        self.filters = filters
        self.steps = 0
        self.found = ""  # what matched last, of many, is likely to match again
        self.tree: FilterTree[str] | None = None
        if len(filters) > FEW:
            tree: FilterTree[str] = FilterTree(cache_limit=0)
            for topic_filter in filters:
                tree.add(topic_filter, topic_filter)
            self.tree = tree

    def matches(self, topic: str) -> bool:
        """Return whether any of the filters matches `topic`, which is one."""
        if self.tree is not None:
            self.steps += 1
            if self.found and matches(self.found, topic):
                return True
            before = self.tree.steps()
            found = self.tree.match(topic)
            self.steps += self.tree.steps() - before
            if found:
                self.found = found[0]
            return len(found) > 0
        self.steps += len(self.filters)
        for topic_filter in self.filters:  # noqa: SIM110 - a generator expression is made a list when compiled
            if matches(topic_filter, topic):
                return True
        return False

    def is_few(self) -> bool:
        """Return whether the filters are so few that each may be looked up by itself."""
        return self.tree is None
