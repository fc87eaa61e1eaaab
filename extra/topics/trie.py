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
            branches = deeper
            if not branches:
                break
        for branch in branches:
            for key in (_END, "#"):  # `#` matches its parent level too, 4.7.1.2
                below = branch.get(key)
                if isinstance(below, str):
                    found.append(below)
        return found

    def topics_matching(self, topic_filter: str) -> list[str]:
        """Return the topics in the set that `topic_filter` matches. For a set of topics.

        Cost: a step per topic found and per branch that `+` has to try.
        """
        found: list[str] = []
        filter_levels = topic_filter.split("/")
        branches = [self.root]
        if filter_levels[0] == "+" or filter_levels[0] == "#":  # [MQTT-4.7.2-1]
            branches = [{level: below for level, below in self.root.items() if not level.startswith("$")}]
        for depth, level in enumerate(filter_levels):
            if level == "#":
                found.extend(_names_in(branches))
                return found
            deeper: list[Branch] = []
            for branch in branches:
                if level == "+":
                    tried = list(branch.values())
                else:
                    below = branch.get(level)
                    tried = [] if below is None else [below]
                for below in tried:
                    if isinstance(below, dict):
                        deeper.append(below)
                    elif levels_match(filter_levels, below.split("/"), depth):
                        found.append(below)
            branches = deeper
            if not branches:
                break
        for branch in branches:
            below = branch.get(_END)
            if isinstance(below, str):
                found.append(below)
        return found


def _path(name: str) -> list[str]:
    """Return the keys that lead to `name` at most. No name's path is the start of another's."""
    path = name.split("/")
    path.append(_END)
    return path


def _names_in(branches: list[Branch]) -> list[str]:
    """Return the names in `branches` and below."""
    found: list[str] = []
    pending = branches.copy()
    while pending:
        for below in pending.pop().values():
            if isinstance(below, dict):
                pending.append(below)
            else:
                found.append(below)
    return found
