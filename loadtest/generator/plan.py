"""What a process of the load is told on its command line, as JSON."""

import random
from dataclasses import asdict, dataclass
from json import dumps, loads

__all__ = ["Group", "Plan", "picks"]


@dataclass(frozen=True)
class Group:
    """Subscribers that are alike. `{}` in a filter is the subscriber's number, from 0, within the group.

    Those that are `is_shared` get the same messages, all of them; the others those of `bench/NUMBER`.
    `probes` of them measure latency. Those that are `is_stalled` read nothing until they are told to.
    """

    count: int
    filters: tuple[str, ...] = ("bench",)
    query: str = ""
    is_shared: bool = True
    is_stalled: bool = False
    probes: int = 16


@dataclass(frozen=True)
class Plan:
    """Who subscribes where. `topics` other than 0 says that each message goes to one of so many (`picks`).

    `messages` is how many will be published in all, where that has to be known. `window` is how many
    connections are opened at a time, `receive_buffer_bytes` the kernel's buffer of those that are stalled,
    `first` the number of the first message that comes to those who share.
    """

    port: int
    dialect: str
    groups: tuple[Group, ...] = ()
    payload_bytes: int = 128
    topics: int = 0
    messages: int = 0
    window: int = 64
    receive_buffer_bytes: int = 0
    first: int = 0

    def to_json(self) -> str:
        return dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        fields = loads(text)
        groups = [Group(**{**group, "filters": tuple(group["filters"])}) for group in fields.pop("groups")]
        return cls(**fields, groups=tuple(groups))


def picks(topics: int, count: int) -> list[int]:
    """Return the topic of each of the first `count` messages: random, and the same in every process."""
    generator = random.Random(topics)
    return [generator.randrange(topics) for _ in range(count)]
