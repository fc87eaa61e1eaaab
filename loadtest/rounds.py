"""Measures several servers in turn, so that what else the machine does falls on all alike."""

from collections.abc import Callable, Sequence

from loadtest.generator.checks import Mismatch
from loadtest.report import Rows, say
from loadtest.targets import Target

__all__ = ["interleaved"]


def interleaved(
    targets: Sequence[Target], rounds: int, measure: Callable[[Target], dict[str, float]]
) -> Rows:
    """Measure every target once a round; who begins rotates.

    Raises:
        Mismatch: a message was lost, doubled or reordered; names the server as well.
    """
    rows: Rows = {target.name: [] for target in targets}
    for number in range(rounds):
        first = number % len(targets)
        for target in (*targets[first:], *targets[:first]):
            try:
                figures = measure(target)
            except Mismatch as error:
                raise Mismatch(f"{target.name}: {error}") from None
            rows[target.name].append(figures)
            say(f"  round {number + 1}, {target.name}: " + summary(figures))
    return rows


def summary(figures: dict[str, float]) -> str:
    """Return the first three figures, for who waits."""
    return ", ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:3])
