"""How far a group has come: what it has read, and what of that is settled."""

from collections import deque
from typing import Final, final

from mypy_extensions import mypyc_attr

__all__ = ["RECENT_OFFSETS", "Window"]

RECENT_OFFSETS: Final = 1_000
"""So many settled offsets are remembered, so that acknowledging one twice is not taken for a mistake."""


@final
@mypyc_attr(native_class=True)
class Window:
    """The offsets that a group has read, from the lowest that is not settled on, in order.

    Up to `floor` everything is settled, and `settled` has those above it that are, read again or not.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.read: deque[int] = deque()
        self.settled: set[int] = set()
        self.recent: set[int] = set()
        self.recent_order: deque[int] = deque()

    def __len__(self) -> int:
        return len(self.read)

    def add(self, offset: int) -> bool:
        """Take in what was read, in order; return whether it has been settled before."""
        self.read.append(offset)
        if offset not in self.settled:
            return False
        self._advance()
        return True

    def settle(self, offset: int) -> None:
        """Note that what was read is done, and move the floor over all that is."""
        self.settled.add(offset)
        self.recent.add(offset)
        self.recent_order.append(offset)
        if len(self.recent_order) > RECENT_OFFSETS:
            self.recent.discard(self.recent_order.popleft())
        self._advance()

    def was_settled(self, offset: int) -> bool:
        """Return whether an offset is settled, as far as that is remembered of those below the floor."""
        return offset in self.settled or offset in self.recent

    def position(self) -> int:
        """Return the offset up to which everything is settled: right before the first that is not."""
        if self.read:
            self.floor = max(self.floor, self.read[0] - 1)
        return self.floor

    def reach(self, offset: int) -> None:
        """Note that there is nothing to be settled up to an offset. Nothing is in the window."""
        self.floor = max(self.floor, offset)

    def prune(self) -> None:
        """Let go of what lies behind the floor: it has been lost, or is of filters that are not read now."""
        self.settled = {each for each in self.settled if each > self.floor}

    def clear(self) -> None:
        """Forget what was read: it is going to be read again from the floor on. What is settled stays so."""
        self.read.clear()
        self.recent.clear()
        self.recent_order.clear()

    def _advance(self) -> None:
        read = self.read
        while read and read[0] in self.settled:
            self.floor = read.popleft()
            self.settled.discard(self.floor)
