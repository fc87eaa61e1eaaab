"""What a log and its retained messages have let go of, for an engine that keeps a copy of them elsewhere."""

from typing import final

from mypy_extensions import mypyc_attr

__all__ = ["Journal"]


@final
@mypyc_attr(native_class=True)
class Journal:
    """Notes for an engine, which takes them and puts an empty journal in their place.

    `evicted` has the offsets that have left the log, `losses` the highest offset that each topic has lost by
    now, `forgotten` the topics that the log no longer knows, `unretained` the offsets of messages that are no
    longer retained. `lasts` has the offset of the last message of a topic where that has gone but was no loss
    (it had expired). Bounded by what there was to let go of.
    """

    __slots__ = ("evicted", "forgotten", "lasts", "losses", "unretained")

    def __init__(self) -> None:
        self.evicted: list[int] = []
        self.losses: dict[str, int] = {}
        self.forgotten: dict[str, None] = {}
        self.unretained: list[int] = []
        self.lasts: dict[str, int] = {}

    def is_empty(self) -> bool:
        return not (self.evicted or self.losses or self.forgotten or self.unretained or self.lasts)

    def precede(self, later: "Journal") -> None:
        """Put what `later` has behind what is here: the engine could not make use of this one."""
        self.evicted += later.evicted
        self.losses.update(later.losses)
        self.forgotten.update(later.forgotten)
        self.unretained += later.unretained
        self.lasts.update(later.lasts)
