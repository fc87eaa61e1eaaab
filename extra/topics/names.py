"""What topics and topic filters may look like, and which filter matches which topic.

The rules are those of MQTT 5.0 section 4.7, with one limit of our own: 128 levels, so that the work for one
name is bounded. Names are compared code point by code point, never normalized [MQTT-4.7.3-4].

`check_topic` and `check_filter` stand where names come in. The other functions take names that passed them.
"""

from typing import Final

from extra.errors import InvalidFilter, InvalidTopic

__all__ = [
    "MAX_LEVELS",
    "MAX_TOPIC_BYTES",
    "check_filter",
    "check_topic",
    "covers",
    "filter_from_url",
    "has_wildcard",
    "levels_match",
    "matches",
    "overlap",
]

MAX_TOPIC_BYTES: Final = 65_535
"""The longest topic or topic filter, in bytes of UTF-8 [MQTT-4.7.3-3]."""

MAX_LEVELS: Final = 128
"""The most levels in a topic or topic filter; empty ones and `#` count."""

_SHOWN_CHARACTERS: Final = 80


def check_topic(topic: str, *, max_bytes: int = MAX_TOPIC_BYTES, max_levels: int = MAX_LEVELS) -> None:
    """Return if `topic` is one. `max_bytes` and `max_levels` can tighten the limits, not widen them.

    Raises:
        InvalidTopic: `topic` is empty, has too many bytes or levels, or holds NUL, a lone surrogate or
            a wildcard.
    """
    flaw = _flaw(topic, max_bytes, max_levels)
    if flaw is None and has_wildcard(topic):  # [MQTT-4.7.0-1]
        wildcard = "+" if "+" in topic else "#"
        flaw = f"holds the wildcard '{wildcard}', which only a topic filter can"
    if flaw is not None:
        raise InvalidTopic(f"topic {_shown(topic)} {flaw}")


def check_filter(
    topic_filter: str, *, max_bytes: int = MAX_TOPIC_BYTES, max_levels: int = MAX_LEVELS
) -> None:
    """Return if `topic_filter` is one. `max_bytes` and `max_levels` can tighten the limits, not widen them.

    Raises:
        InvalidFilter: `topic_filter` is empty, has too many bytes or levels, holds NUL or a lone surrogate,
            has a wildcard that is not a whole level, or `#` before the last level.
    """
    flaw = _flaw(topic_filter, max_bytes, max_levels)
    if flaw is None and has_wildcard(topic_filter):
        flaw = _wildcard_flaw(topic_filter)
    if flaw is not None:
        raise InvalidFilter(f"topic filter {_shown(topic_filter)} {flaw}")


def has_wildcard(topic_filter: str) -> bool:
    """Tell whether `topic_filter` can match more than the one topic that is spelled like it."""
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether `topic_filter` matches `topic`.

    `+` stands for one level, an empty one included; `#` for any number of levels, none included: `a/#`
    matches `a` too. A filter that starts with a wildcard matches no topic that starts with `$`.
    """
    if topic.startswith("$") and topic_filter.startswith(("+", "#")):  # [MQTT-4.7.2-1]
        return False
    return levels_match(topic_filter.split("/"), topic.split("/"))


def levels_match(filter_levels: list[str], topic_levels: list[str], start: int = 0) -> bool:
    """Tell whether the levels from index `start` on match. The rule about `$` is left to the caller."""
    topic_end = len(topic_levels)
    for position in range(start, len(filter_levels)):
        level = filter_levels[position]
        if level == "#":
            return True
        if position == topic_end:
            return False
        if level != "+" and level != topic_levels[position]:
            return False
    return len(filter_levels) == topic_end


def covers(wide: str, narrow: str) -> bool:
    """Tell whether `wide` matches every topic that `narrow` matches. Exact: no and yes can both be relied on.

    A topic counts as a filter that matches itself alone.
    """
    # No topic is empty, so that these two match just what a longer filter does.
    if narrow == "#":
        narrow = "+/#"
    elif narrow == "/#":
        narrow = "/+/#"
    # All that `+` stands for is matched by wildcards alone, as a level spelled `+` would be. All that `#`
    # stands for, the parent level included, is matched by a `#` alone.
    if narrow.endswith("/#"):
        return wide.endswith("#") and matches(wide, narrow[:-2])
    return matches(wide, narrow)


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a topic that both filters match. Exact, as `covers` is.

    A topic counts as a filter that matches itself alone. Cost: a step per level.
    """
    # No topic is empty.
    if one == "/#":
        one = "/+/#"
    if other == "/#":
        other = "/+/#"
    for wild, plain in ((one, other), (other, one)):
        if plain.startswith("$") and wild.startswith(("+", "#")):
            return False
    levels, others = one.split("/"), other.split("/")
    for level, its in zip(levels, others, strict=False):
        if level == "#" or its == "#":
            return True
        if level != its and level != "+" and its != "+":
            return False
    rest = levels[len(others) :] or others[len(levels) :]
    return not rest or rest == ["#"]


def filter_from_url(text: str) -> str:
    """Return the topic filter that `text`, decoded from a URL, stands for. The answer is not checked.

    `#` ends the path of a URL. Hence a level `*` is read as `+`, and a last level `**` as `#`; anything else,
    `+` and `#` included, stands for itself.
    """
    if "*" not in text:
        return text
    levels = ["+" if level == "*" else level for level in text.split("/")]
    if levels[-1] == "**":
        levels[-1] = "#"
    return "/".join(levels)


def _flaw(name: str, max_bytes: int, max_levels: int) -> str | None:
    """Return what keeps `name` from being a topic or a filter, wildcards apart, or None."""
    max_bytes = min(max_bytes, MAX_TOPIC_BYTES)
    max_levels = min(max_levels, MAX_LEVELS)
    if not name:  # [MQTT-4.7.3-1]
        return "is empty"
    size = len(name)
    if size <= max_bytes and not name.isascii():
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:  # [MQTT-1.5.4-1]
            return f"holds the lone surrogate U+{ord(name[error.start]):04X}, which UTF-8 cannot carry"
    if size > max_bytes:  # [MQTT-4.7.3-3]
        return f"is longer than {max_bytes:,} bytes (broker.max_topic_bytes)"
    level_count = name.count("/") + 1
    if level_count > max_levels:
        return f"has {level_count:,} levels, more than {max_levels} (broker.max_topic_levels)"
    if "\0" in name:  # [MQTT-4.7.3-2]
        return "holds the character NUL"
    return None


def _wildcard_flaw(topic_filter: str) -> str | None:
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, 1):
        if len(level) > 1 and has_wildcard(level):  # [MQTT-4.7.1-1], [MQTT-4.7.1-2]
            return f"has a wildcard inside level {number}, {_shown(level)}: it has to be the whole level"
        if level == "#" and number < len(levels):  # [MQTT-4.7.1-1]
            return f"has '#' as level {number} of {len(levels)}: it has to be the last"
    return None


def _shown(name: str) -> str:
    """Return `name` for a message: quoted, on one line, cut short."""
    shown = repr(name[:_SHOWN_CHARACTERS])
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 3] + "..."
