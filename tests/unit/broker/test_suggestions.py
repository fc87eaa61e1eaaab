"""Suggestions for mistyped names."""

import pytest

from broker.suggestions import suggestion

KNOWN = ["server.port", "server.host", "retention.messages", "pub", "sub"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("server.prot", "did you mean server.port?"),
        ("port", "did you mean server.port?"),
        ("server.messages", "did you mean retention.messages?"),
        ("pubb", "did you mean pub?"),
        ("zzz", "look around"),
        ("", "look around"),
        ("x.", "look around"),
    ],
)
def test_known_name_that_is_alike_is_suggested(name: str, answer: str) -> None:
    assert suggestion(name, KNOWN, "look around") == answer


def test_very_long_name_costs_little() -> None:
    assert suggestion("x" * 10_000_000, KNOWN, "look around") == "look around"
