"""Measures several servers in turn, so that what else the machine does falls on all alike."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from loadtest.generator.checks import Mismatch
from loadtest.report import Rows, say

__all__ = ["interleaved"]

T = TypeVar("T")


def interleaved(subjects: Mapping[str, T], rounds: int, measure: Callable[[T], dict[str, float]]) -> Rows:
    """Measure every subject once a round; who begins rotates. Returns the rounds by name.

    Raises:
        Mismatch: a message was lost, doubled or reordered; names the subject as well.
        ChildProcessError: a server, or a process of the load, has failed.
    """
    rows: Rows = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            try:
                figures = measure(subjects[name])
            except (Mismatch, ChildProcessError) as error:
                raise type(error)(f"{name}: {error}") from None
            rows[name].append(figures)
            say(f"  round {number + 1}, {name}: {summary(figures)}")
    return rows


def summary(figures: dict[str, float]) -> str:
    """Return the first three figures, for who waits."""
    return ", ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:3])
