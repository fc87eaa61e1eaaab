"""Topics as methods are declared for them: filters whose levels have names.

    rooms/{room}/+          what rooms/+/+ matches; `room` is the second level
    site/{id:int}/#         levels of a kind: a topic with another text there is not for the method
    files/{path:path}       the last one may take the rest, `{any}` too: what files/# matches

The kinds are those of paths (`extra.http.convertors`).
"""

from collections.abc import Mapping
from typing import Final

from extra.errors import Forbidden
from extra.http import CONVERTORS, Convertor
from extra.http.patterns import PARAMETER
from extra.topics import check_filter, has_wildcard

__all__ = ["TopicPattern"]

LEVEL: Final = "+"
REST: Final = "#"


class TopicPattern:
    """A pattern of topics. `filter` is what to subscribe to, `names` and `kinds` are of its parameters."""

    __slots__ = ("_kinds", "_places", "_rest", "filter", "kinds", "names", "text")

    def __init__(self, text: str, convertors: Mapping[str, Convertor] = CONVERTORS) -> None:
        """Take `text` apart.

        Raises:
            InvalidFilter: what it stands for is no topic filter.
            ValueError: a parameter is no whole level, is of an unknown kind, or has the name of another.
        """
        self.text = text
        self._places: list[int] = []
        self._kinds: list[Convertor] = []
        self._rest = False
        names: list[str] = []
        levels = text.split("/")
        for place, level in enumerate(levels):
            found = PARAMETER.fullmatch(level)
            if found is None:
                if "{" in level or "}" in level:
                    raise ValueError(f"topic {text!r}: {level!r} is neither text nor one parameter")
                continue
            name, kind = found.groups()
            kind = kind or ("any" if name == "any" else "str")
            if kind not in convertors:
                raise ValueError(f"topic {text!r}: no kind {kind!r} of parameter")
            convertor = convertors[kind]
            if convertor.rest and place != len(levels) - 1:
                raise ValueError(f"topic {text!r}: {level} takes the rest, it has to be the last level")
            levels[place] = REST if convertor.rest else LEVEL
            self._rest = convertor.rest
            self._places.append(place)
            self._kinds.append(convertor)
            names.append(name)
        if len(set(names)) != len(names):
            raise ValueError(f"topic {text!r} has two parameters of one name")
        self.names = tuple(names)
        self.kinds = dict(zip(names, self._kinds, strict=True))
        self.filter = "/".join(levels)
        check_filter(self.filter)

    def values_of(self, topic: str) -> dict[str, object] | None:
        """Return the parameters in a topic that the filter matches, None where one is of another kind."""
        if not self.names:
            return {}
        levels = topic.split("/")
        values: dict[str, object] = {}
        for name, place, kind in zip(self.names, self._places, self._kinds, strict=True):
            text = "/".join(levels[place:]) if kind.rest else levels[place]
            try:
                values[name] = kind.parse(text)
            except ValueError:
                return None
        return values

    def values_of_filter(self, topic_filter: str) -> dict[str, object] | None:
        """Return the parameters in a filter that overlaps this pattern; None where one is of another kind.

        A level that the filter leaves open is `+` or `#`, as it says.

        Raises:
            Forbidden: it leaves open what is of a kind that these are not of.
        """
        levels = topic_filter.split("/")
        end = len(levels) - 1 if levels[-1] == REST else len(levels)
        values: dict[str, object] = {}
        for name, place, kind in zip(self.names, self._places, self._kinds, strict=True):
            if place >= end:
                text = REST if end < len(levels) else ""
            else:
                text = "/".join(levels[place:]) if kind.rest else levels[place]
            try:
                values[name] = kind.parse(text)
            except ValueError:
                if not has_wildcard(text):
                    return None
                what = f"{{{name}}} of {self.text!r} has to be said"
                raise Forbidden(f"topic filter {topic_filter[:80]!r}: {what}") from None
        return values
