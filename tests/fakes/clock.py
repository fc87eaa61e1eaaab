"""A clock that stands until it is moved."""

from extra.pubsub import Clock

__all__ = ["FakeClock"]


class FakeClock(Clock):
    """Both readings start at a number that no other one is mistaken for, and move together."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def now(self) -> float:
        return 5_000.0 + self.elapsed_s

    def time(self) -> float:
        return 1_900_000_000.0 + self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.elapsed_s += seconds
