"""What was refused is counted by its code, and by the setting of the limit that it met."""

import pytest

from broker.endpoints.tally import Tally
from extra.errors import ExtraError, InvalidPayload, InvalidTopic, LimitExceeded
from tests.unit.broker.endpoints.driving import fields_of


def test_errors_are_counted_by_face_and_code() -> None:
    tally = Tally()
    tally.answer(InvalidPayload("no"))
    tally.answer(ZeroDivisionError())
    tally.count("websocket", "invalid_payload", "no")
    assert tally.errors == {
        ("http", "invalid_payload"): 1,
        ("http", "internal"): 1,
        ("websocket", "invalid_payload"): 1,
    }
    assert tally.limits_met == {}


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (LimitExceeded("more than 5 (broker.max_payload_bytes)"), "broker.max_payload_bytes"),
        (LimitExceeded("larger than server.head_limit_bytes=5"), "server.head_limit_bytes"),
        (
            LimitExceeded("'broker.max_payload_bytes': 5 (broker.subscriptions_limit)"),
            "broker.subscriptions_limit",
        ),
        (
            InvalidTopic("topic 'a/b' has 3 levels, more than 2 (broker.max_topic_levels)"),
            "broker.max_topic_levels",
        ),
        (LimitExceeded("something of no setting: a.b"), None),
        (InvalidPayload("(broker.max_payload_bytes)"), None),
    ],
)
def test_limits_are_counted_by_the_setting_that_the_message_names(
    error: ExtraError, limit: str | None
) -> None:
    tally = Tally()
    tally.answer(error)
    assert tally.limits_met == ({limit: 1} if limit else {})


def test_the_problem_document_names_the_setting() -> None:
    tally = Tally()
    assert (
        fields_of(tally.answer(LimitExceeded("5 (broker.max_payload_bytes)")))["limit"]
        == "broker.max_payload_bytes"
    )
    assert "limit" not in fields_of(tally.answer(LimitExceeded("5")))
