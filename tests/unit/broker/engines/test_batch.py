"""What is written in one transaction."""

from broker.engines.batch import Batch, Placed, runs_of
from tests.unit.pubsub.material import a_message


def test_runs_are_consecutive() -> None:
    assert runs_of([]) == []
    assert runs_of([5]) == [(5, 5)]
    assert runs_of([3, 1, 2, 7, 9, 8]) == [(1, 3), (7, 9)]
    assert runs_of([0, 1]) == [(0, 1)]


def test_a_batch_is_empty_but_for_what_it_is_given() -> None:
    batch = Batch(3)
    assert (list(batch.placed), batch.cleared, batch.states, batch.retained) == ([], [], {}, None)
    assert batch.gone.is_empty()


def test_what_is_placed_is_kept_and_has_no_key_unless_that_is_said() -> None:
    placed = Placed(a_message(), 7, 1.0, 2.0)
    assert (placed.offset, placed.now, placed.time, placed.key, placed.is_kept) == (7, 1.0, 2.0, b"", True)
