"""Kinds of parameters."""

from datetime import date

import pytest

from extra.http import CONVERTORS, Convertor


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "a", "a"),
        ("int", "-12", -12),
        ("int", "007", 7),
        ("float", "1", 1.0),
        ("float", "-1.25", -1.25),
        ("date", "2026-12-31", date(2026, 12, 31)),
        ("slug", "a-b_9", "a-b_9"),
        ("path", "a/b", "a/b"),
        ("any", "", ""),
    ],
)
def test_text_of_a_kind_has_a_value(kind: str, text: str, value: object) -> None:
    parsed = CONVERTORS[kind].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", ""),
        ("int", "1e3"),
        ("int", "+1"),
        ("int", "1_0"),
        ("int", " 1"),
        ("int", "1\n"),
        ("float", "nan"),
        ("float", "1."),
        ("float", ".5"),
        ("uuid", "not-a-uuid"),
        ("date", "2026-13-01"),
        ("slug", "a b"),
    ],
)
def test_other_text_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"^|."):
        CONVERTORS[kind].parse(text)


def test_convert_may_refuse_what_looks_right() -> None:
    def even(text: str) -> int:
        if int(text) % 2:
            raise ValueError(text)
        return int(text)

    convertor = Convertor("[0-9]+", even)
    assert convertor.parse("42") == 42
    with pytest.raises(ValueError, match="43"):
        convertor.parse("43")
