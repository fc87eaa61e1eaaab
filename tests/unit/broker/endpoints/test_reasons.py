"""The table of codes: every error has its place in it, and the table is the documented one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.endpoints.reasons import (
    CLOSE_CODES,
    STATUSES,
    NotAcceptable,
    NotSubscribed,
    Unsupported,
    error_response,
)
from extra.errors import ChannelEmpty, ChannelFull, EngineUnavailable, ExtraError, InvalidTopic, ProtocolError
from extra.http import BodyTooLarge, MethodNotAllowed, ServerOverloaded
from tests.unit.broker.endpoints.driving import fields_of, headers_of

PROTOCOL = Path(__file__).parents[4] / "docs" / "protocol.md"

NEVER_ANSWERED = {ProtocolError, ChannelEmpty, ChannelFull}
"""An abstract one, and those of channels, which no request comes to."""


def documented() -> dict[str, tuple[str, str]]:
    """Return what the table under "Errors" says of each code, for HTTP and for WebSocket."""
    section = PROTOCOL.read_text().split("## Errors")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", section, re.MULTILINE)
    return {code: (status.strip(), websocket.strip()) for code, status, websocket in rows if code != "code"}


def errors(kind: type[ExtraError] = ExtraError) -> Iterator[type[ExtraError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from errors(derived)


def test_every_documented_code_has_the_status_that_is_documented() -> None:
    table = documented()
    assert len(table) >= 17
    for code, (status, _) in table.items():
        if status:
            assert str(STATUSES[code]) in status, code


def test_every_documented_code_closes_with_the_code_that_is_documented() -> None:
    for code, (_, websocket) in documented().items():
        if websocket.isdigit():
            reason = {"broker_closed": "shutdown"}.get(code, code)
            assert CLOSE_CODES[reason] == int(websocket), code


def test_close_codes_are_documented() -> None:
    section = PROTOCOL.read_text().split("| WebSocket close code |")[1].split("\n## ")[0]
    assert {str(code) for code in CLOSE_CODES.values()} <= set(re.findall(r"\b\d{4}\b", section))


def test_every_error_of_ours_has_a_status() -> None:
    ours = [
        kind
        for kind in errors()
        if kind.__module__.split(".")[0] in ("extra", "broker") and kind not in NEVER_ANSWERED
    ]
    assert len(ours) > 20
    for kind in ours:
        assert kind.code in STATUSES, kind


def test_an_error_is_a_problem_document() -> None:
    """RFC 9457 3."""
    response = error_response(InvalidTopic("topic '' is empty"))
    assert response.status == 400
    assert response.content_type == "application/problem+json"
    assert fields_of(response) == {
        "type": "urn:extra:error:invalid_topic",
        "title": "Bad Request",
        "status": 400,
        "code": "invalid_topic",
        "detail": "topic '' is empty",
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BodyTooLarge(10, "broker.max_payload_bytes"), 413),
        (ServerOverloaded("connections", 5), 503),
        (NotAcceptable("accept"), 406),
        (Unsupported("gzip"), 415),
        (NotSubscribed("a"), 409),
    ],
)
def test_an_error_that_knows_its_status_keeps_it(error: ExtraError, status: int) -> None:
    assert error_response(error).status == status


def test_what_is_temporary_may_be_tried_again() -> None:
    assert headers_of(error_response(EngineUnavailable("away"))) == {"retry-after": "1"}
    assert headers_of(error_response(ServerOverloaded("connections", 5))) == {"retry-after": "5"}
    assert headers_of(error_response(InvalidTopic("no"))) == {}


def test_an_error_keeps_its_own_header_fields() -> None:
    assert headers_of(error_response(MethodNotAllowed("no", "GET, HEAD"))) == {"allow": "GET, HEAD"}


def test_of_a_bug_nothing_is_told() -> None:
    response = error_response(ValueError("secret"))
    assert response.status == 500
    assert fields_of(response)["code"] == "internal"
    assert b"secret" not in bytes(str(response.body), "utf-8")
