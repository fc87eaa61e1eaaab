"""Back-off: full jitter under a bound that doubles."""

from random import Random

import pytest

from extra.client.backoff import Backoff


def test_the_bound_doubles_up_to_its_limit() -> None:
    backoff = Backoff(0.2, 1.5, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(5)] == [0.2, 0.4, 0.8, 1.5, 1.5]


def test_delays_are_spread_over_the_whole_interval() -> None:
    backoff = Backoff(1.0, 1.0, Random(7).random)
    delays = [backoff.next_delay() for _ in range(1000)]
    assert min(delays) < 0.01
    assert max(delays) > 0.99
    assert 0.45 < sum(delays) / len(delays) < 0.55


def test_a_reset_begins_anew() -> None:
    backoff = Backoff(0.2, 15.0, lambda: 1.0)
    assert backoff.is_fresh
    backoff.next_delay()
    assert not backoff.is_fresh
    backoff.reset()
    assert backoff.is_fresh
    assert backoff.next_delay() == 0.2


@pytest.mark.parametrize(("initial_s", "limit_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_bounds_that_make_no_sense_are_refused(initial_s: float, limit_s: float) -> None:
    with pytest.raises(ValueError, match="backoff_initial_s"):
        Backoff(initial_s, limit_s, lambda: 1.0)
