"""A set of names, topics or filters, in a trie by levels: what `FilterTree` and `TopicIndex` are built on.

A branch is a dict from a level to what is below it: another branch or, where there is but one name below,
that name. So the levels that a name shares with no other cost nothing: a name is one dict entry, however
deep. A name that ends where others go on stands in their branch under the key `/`, which is no level.

    a/b  a/c/d  a/c/e/f  x/y/z     {"a": {"b": "a/b", "c": {"d": "a/c/d", "e": "a/c/e/f"}}, "x": "x/y/z"}
    and a                          {"a": {"/": "a", "b": ...}, "x": ...}

Invariant between calls: every branch but the root has two names or more in it and below. The shape therefore
depends on the names alone, not on how they came, and nothing is left of a name that was removed.

Alternatives that lost. An object per level, with slots for the wildcards: 541 bytes for each of many filters
like `user/17/inbox/+`, against 126 here (`FilterTree` as a whole, a million filters). A dict of whole
prefixes: it hashes a deep name once for each of its levels, quadratic in its length.
"""

import sys
from typing import Final, TypeAlias, final

from mypy_extensions import mypyc_attr

from extra.topics.names import levels_match

__all__ = ["Branch", "LevelTrie"]

Branch: TypeAlias = "dict[str, Branch | str]"

_END: Final = "/"


@final
@mypyc_attr(native_class=True)
class LevelTrie:
    """A set of valid names. Its owner knows which are in it: neither `add` nor `remove` asks."""

    def __init__(self) -> None:
        self.root: Branch = {}
        self.steps = 0  # over branches, of the questions so far that are counted

    def add(self, name: str) -> None:
        """Add `name`, which is not in the set. Cost: a step per level."""
        path = _path(name)
        branch = self.root
        depth = 0
        below = branch.get(path[0])
        while isinstance(below, dict):
            branch = below
            depth += 1
            below = branch.get(path[depth])
        if below is not None:
            # So far another name has had this level for itself. Branch off down to where the two part.
            other_path = _path(below)
            while path[depth] == other_path[depth]:
                fork: Branch = {}
                branch[path[depth]] = fork
                branch = fork
                depth += 1
            branch[other_path[depth]] = below
        branch[path[depth]] = name

    def remove(self, name: str) -> None:
        """Remove `name`, which is in the set. Cost: a step per level."""
        path = _path(name)
        branch = self.root
        parents: list[Branch] = []
        below = branch[path[0]]
        while isinstance(below, dict):
            parents.append(branch)
            branch = below
            below = branch[path[len(parents)]]
        del branch[path[len(parents)]]
        # A branch left with one name gives way to that name.
        while parents and len(branch) == 1:
            (last,) = branch.values()
            if isinstance(last, dict):
                return
            branch = parents.pop()
            branch[path[len(parents)]] = last

    def filters_matching(self, topic: str) -> list[str]:
        """Return the filters in the set that match `topic`. For a set of filters.

        Cost: a step per level and branch. There is one branch per level, however many the filters, except
        that both lead on where a level is there as itself and as `+`.
        """
        found: list[str] = []
        topic_levels = topic.split("/")
        branches = [self.root]
        for depth, level in enumerate(topic_levels):
            keys = [level, "+", "#"]
            if depth == 0 and level.startswith("$"):  # [MQTT-4.7.2-1]
                keys = [level]
            deeper: list[Branch] = []
            for branch in branches:
                for key in keys:
                    below = branch.get(key)
                    if isinstance(below, dict):
                        deeper.append(below)
                    elif below is not None and levels_match(below.split("/"), topic_levels, depth):
                        found.append(below)
            self.steps += len(branches)
            branches = deeper
            if not branches:
                break
        for branch in branches:
            for key in (_END, "#"):  # `#` matches its parent level too, 4.7.1.2
                below = branch.get(key)
                if isinstance(below, str):
                    found.append(below)
        return found

    def topics_matching(self, topic_filter: str, limit: int | None = None) -> list[str]:
        """Return the topics in the set that `topic_filter` matches, `limit` at most. For a set of topics.

        Cost: a step per topic found and per branch that `+` has to try.
        """
        found: list[str] = []
        most = limit if limit is not None else sys.maxsize
        if most > 0:
            _find(self.root, topic_filter.split("/"), 0, most, found, sys.maxsize)
        return found

    def topics_matching_within(self, topic_filter: str, limit: int, steps: int) -> list[str] | None:
        """Do what `topics_matching` does, if `steps` are enough for it; None when they are not."""
        found: list[str] = []
        left = _find(self.root, topic_filter.split("/"), 0, limit, found, steps)
        self.steps += steps - left
        return found if left >= 0 else None


def _path(name: str) -> list[str]:
    """Return the keys that lead to `name` at most. No name's path is the start of another's."""
    path = name.split("/")
    path.append(_END)
    return path


def _find(
    branch: Branch, filter_levels: list[str], depth: int, most: int, found: list[str], steps: int
) -> int:
    """Add to `found` the topics in `branch` that match from the level at `depth` on, until it has `most`.

    Returns how many of `steps` are left; below 0 they were not enough.
    """
    level = filter_levels[depth] if depth < len(filter_levels) else _END
    if level != "+" and level != "#":
        below = branch.get(level)
        if isinstance(below, dict):
            return _find(below, filter_levels, depth + 1, most, found, steps - 1)
        if below is not None and levels_match(filter_levels, below.split("/"), depth):
            found.append(below)
        return steps - 1
    for key, below in branch.items():
        steps -= 1
        if steps < 0:
            break
        if depth == 0 and key.startswith("$"):  # [MQTT-4.7.2-1]
            continue
        if not isinstance(below, dict):
            if level == "#" or levels_match(filter_levels, below.split("/"), depth):
                found.append(below)
        elif level == "+":
            steps = _find(below, filter_levels, depth + 1, most, found, steps)
        else:
            before = len(found)
            _gather(below, most, found)
            steps -= len(found) - before
        if len(found) == most:
            break
    return steps


def _gather(branch: Branch, most: int, found: list[str]) -> None:
    """Add to `found` the names in `branch` and below, until it has `most`."""
    for below in branch.values():
        if isinstance(below, dict):
            _gather(below, most, found)
        else:
            found.append(below)
        if len(found) == most:
            return
