"""What is said of gaps."""

import logging

import pytest

from extra.errors import UnrecoverablePosition
from extra.pubsub import Gap, GapTeller, describe_gap

LOGGER = logging.getLogger("extra.pubsub")


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (Gap(None, 0, "epoch"), "messages may be missing: the broker's log has begun anew (epoch)"),
        (
            Gap(None, 0, "epoch", filter="a/#"),
            "messages of a/# may be missing: the broker's log has begun anew (epoch)",
        ),
        (Gap(3, 5, "evicted"), "messages after offset 3 and up to 5 are missing (evicted)"),
        (Gap(3, 5, "overflow", 2), "2 messages were dropped: this reader does not keep up (overflow)"),
    ],
)
def test_a_gap_in_words(gap: Gap, words: str) -> None:
    assert describe_gap(gap) == words


def test_who_asked_to_be_told_is_told() -> None:
    told: list[Gap] = []
    teller = GapTeller(["a"], "disconnect", told.append, LOGGER)
    gaps = [Gap(3, 5, "evicted"), Gap(None, 0, "epoch"), Gap(5, 6, "overflow", 1)]
    for gap in gaps:
        teller.tell(gap)
    assert told == gaps


def test_who_did_not_ask_gets_the_words_and_the_gap_in_an_error() -> None:
    gap = Gap(None, 0, "epoch")
    with pytest.raises(UnrecoverablePosition, match=r"log has begun anew \(epoch\); .*on_gap") as caught:
        GapTeller(["a"], "disconnect", None, LOGGER).tell(gap)
    assert caught.value.gap == gap


def test_loss_that_was_chosen_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    teller = GapTeller(["a", "b/+"], "latest", None, LOGGER)
    for _ in range(2):
        teller.tell(Gap(5, 6, "overflow", 1))
    assert [record.getMessage() for record in caplog.records] == [
        "a subscriber to a, b/+ does not keep up: messages are dropped (overflow 'latest')"
    ]
