import inspect
import pickle
import re

import pytest

from extra import errors
from extra.errors import ExtraError, UnrecoverablePosition

TREE = {
    "ExtraError": "Exception",
    "InvalidTopic": "ExtraError",
    "InvalidFilter": "ExtraError",
    "InvalidCursor": "ExtraError",
    "InvalidPayload": "ExtraError",
    "InvalidCommand": "ExtraError",
    "LimitExceeded": "ExtraError",
    "ChannelClosed": "ExtraError",
    "ChannelEmpty": "ExtraError",
    "ChannelFull": "ExtraError",
    "UnrecoverablePosition": "ExtraError",
    "PreconditionFailed": "ExtraError",
    "SessionTakenOver": "ExtraError",
    "TopicClosed": "ExtraError",
    "GroupConflict": "ExtraError",
    "NotDelivered": "ExtraError",
    "BrokerClosed": "ExtraError",
    "ProtocolError": "ExtraError",
    "LocalProtocolError": "ProtocolError",
    "RemoteProtocolError": "ProtocolError",
    "EngineError": "ExtraError",
    "EngineUnavailable": "EngineError",
    "AuthError": "ExtraError",
    "Unauthenticated": "AuthError",
    "Forbidden": "AuthError",
}
"""STYLE section 5."""

TEMPORARY = {"ChannelEmpty", "ChannelFull", "BrokerClosed", "EngineUnavailable"}
FATAL = {"SessionTakenOver", "BrokerClosed", "ProtocolError", "LocalProtocolError", "RemoteProtocolError"}

CODES_OF_THE_PROTOCOL = {
    "invalid_topic",
    "invalid_filter",
    "invalid_cursor",
    "invalid_payload",
    "invalid_command",
    "unrecoverable_position",
    "precondition_failed",
    "limit_exceeded",
    "forbidden",
    "remote_protocol_error",
    "broker_closed",
    "engine_unavailable",
    "internal",
}
"""docs/protocol.md, errors: those that the core has a class for."""

CLASSES: list[type[ExtraError]] = [getattr(errors, name) for name in errors.__all__]


def test_the_tree_has_these_errors_and_no_others() -> None:
    """STYLE section 5: one base each, as compiled exceptions have."""
    assert {each.__name__: each.__base__.__name__ for each in CLASSES if each.__base__} == TREE
    assert all(len(each.__bases__) == 1 for each in CLASSES)
    defined = [
        name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, Exception)
    ]
    assert sorted(defined) == sorted(errors.__all__)


def test_each_error_has_a_code_of_its_own() -> None:
    codes = [each.code for each in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)
    assert set(codes) >= CODES_OF_THE_PROTOCOL


def test_a_code_is_its_classs_name_except_at_the_root() -> None:
    for each in CLASSES:
        if each is not ExtraError:
            assert each.code == re.sub("(?<!^)(?=[A-Z])", "_", each.__name__).lower()


def test_it_is_known_which_causes_are_temporary() -> None:
    assert {each.__name__ for each in CLASSES if each.temporary} == TEMPORARY


def test_it_is_known_which_errors_end_the_connection() -> None:
    assert {each.__name__ for each in CLASSES if not each.connection_survives} == FATAL


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_is_what_it_says(error: type[ExtraError]) -> None:
    raised = error("topic 'a/+' holds the wildcard '+'")
    assert str(raised) == "topic 'a/+' holds the wildcard '+'"
    with pytest.raises(ExtraError):
        raise raised


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_can_be_sent_to_another_process(error: type[ExtraError]) -> None:
    copy = pickle.loads(pickle.dumps(error("gone")))
    assert type(copy) is error
    assert str(copy) == "gone"


def test_an_unrecoverable_position_has_the_gap() -> None:
    gap = object()
    assert UnrecoverablePosition("gone", gap).gap is gap
    assert UnrecoverablePosition("gone").gap is None
