"""Where a reading of the log begins: what `since` says, held against the log as it is."""

from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCursor
from extra.pubsub.engine import Engine
from extra.pubsub.position import Since, format_cursor

__all__ = ["FROM_NOW", "FROM_START", "Beginning", "check_reached", "find_beginning"]

FROM_NOW: Final = -1
"""What is known of a loss by who has been promised nothing that is gone already: none is told."""
FROM_START: Final = -2
"""What is known of a loss by who asks for all there is: none to be told as a gap, but `complete` says so."""


@final
@mypyc_attr(native_class=True)
class Beginning:
    """A reading begins above offset `after`, and loss up to `known` is known, or that is one of the above.

    When it is not of the log's present life (`is_same_epoch`), it begins anew.
    """

    __slots__ = ("after", "is_same_epoch", "known")

    def __init__(self, after: int, known: int, is_same_epoch: bool = True) -> None:
        self.after = after
        self.known = known
        self.is_same_epoch = is_same_epoch


async def find_beginning(
    engine: Engine, filters: list[str], since: Since, stood: int, delivered: int
) -> Beginning:
    """Return where `since` begins, for who stands at `stood`, which is now.

    Raises:
        InvalidCursor: it is ahead of the log, which has been `delivered` up to there. EngineUnavailable.
    """
    if since.kind == "now":
        return Beginning(stood, FROM_NOW)
    if since.kind == "start":
        return Beginning(0, FROM_START)
    if since.kind == "last":
        return Beginning(min(stood, await engine.before_last(filters, since.count)), FROM_NOW)
    position = since.position
    assert position is not None
    if position.epoch != engine.epoch():
        return Beginning(0, 0, is_same_epoch=False)
    check_reached(engine, since, delivered)
    return Beginning(position.offset, position.known)


def check_reached(engine: Engine, since: Since, delivered: int) -> None:
    """Raise InvalidCursor when `since` is a cursor that is ahead of the log, which is at `delivered`."""
    position = since.position
    if position is None or position.epoch != engine.epoch():
        return
    if position.offset > delivered or position.known > delivered:
        raise InvalidCursor(
            f"cursor {format_cursor(position.epoch, position.offset, position.known)!r}"
            f" is ahead of the log, which is at {delivered}"
        )
