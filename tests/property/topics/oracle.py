"""The rules of MQTT 5.0 section 4.7 as the specification tells them, whatever the cost; and names to try."""

from itertools import product

from hypothesis import strategies as st


def oracle(topic_filter: str, topic: str) -> bool:
    """Tell whether `topic_filter` matches `topic`."""
    if topic_filter[0] in "+#" and topic[0] == "$":  # [MQTT-4.7.2-1]
        return False
    return _rest(topic_filter.split("/"), topic.split("/"))


def _rest(wanted: list[str], levels: list[str]) -> bool:
    if wanted == ["#"]:  # any number of levels, the parent level included
        return True
    if not wanted or not levels:
        return wanted == levels
    return wanted[0] in ("+", levels[0]) and _rest(wanted[1:], levels[1:])


def names(levels: list[str], longest: int) -> list[str]:
    """Return every name of one to `longest` of `levels`, short ones first; the empty name is none."""
    paths = [path for count in range(1, longest + 1) for path in product(levels, repeat=count)]
    return [name for name in map("/".join, paths) if name]


def filter_names(levels: list[str], longest: int) -> list[str]:
    """Return every filter of one to `longest` of `levels`, `+` and a last `#`."""
    plain = names([*levels, "+"], longest)
    return ["#", "/#", *plain, *[f"{name}/#" for name in plain if name.count("/") < longest - 1]]


# Few levels, so that names meet; they are drawn from lists since that is quick.
topics = st.sampled_from(names(["a", "b", "", "$"], 3))
filters = st.sampled_from(filter_names(["a", "b", "", "$"], 3))
