"""How long to wait before the next attempt to connect."""

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential back-off with full jitter: a delay drawn evenly from 0 up to a bound that doubles.

    Full jitter spreads the clients of a broker that went away over the whole interval, so that they do not
    all come back at once. `random` returns a float from 0 up to 1.
    """

    def __init__(self, initial_s: float, limit_s: float, random: Callable[[], float]) -> None:
        if not 0 < initial_s <= limit_s:
            raise ValueError(
                f"backoff_initial_s {initial_s} is not above 0 and up to backoff_limit_s {limit_s}"
            )
        self._initial_s = initial_s
        self._limit_s = limit_s
        self._random = random
        self._bound_s = initial_s

    def anew(self) -> "Backoff":
        """Return another one, for another connection."""
        return Backoff(self._initial_s, self._limit_s, self._random)

    @property
    def is_fresh(self) -> bool:
        """Whether no delay has been drawn since the beginning or the last `reset`."""
        return self._bound_s == self._initial_s

    def next_delay(self) -> float:
        """Return how many seconds to wait now, and double the bound."""
        delay = self._random() * self._bound_s
        self._bound_s = min(self._bound_s * 2, self._limit_s)
        return delay

    def reset(self) -> None:
        """Begin anew: the connection has been stable."""
        self._bound_s = self._initial_s
