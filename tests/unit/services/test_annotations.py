"""What annotations say, as text and otherwise."""

from __future__ import annotations

import functools
import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest

from extra.services.annotations import evaluated

if TYPE_CHECKING:
    from decimal import Decimal as Unknown


class Color(Enum):
    RED = "red"


class Paints:
    class Kind(Enum):
        OIL = "oil"

    def list(self) -> None:
        """Have the name of a type, as methods may."""

    def by_kind(self, kind: Kind) -> None: ...
    def many(self, many: list[int]) -> None: ...  # type: ignore[valid-type]  # checkers take the class's first

    @classmethod
    def of_class(cls, kind: Kind) -> None: ...


def said(function: Any, name: str) -> Any:
    return evaluated(function.__annotations__[name], function)


def test_text_is_evaluated_where_the_method_stands() -> None:
    class Local(Enum):
        A = "a"

    def of_module(color: Color, limited: Annotated[int, "x"]) -> None: ...

    def of_function(local: Local) -> type[Enum]:
        return Local

    assert said(of_module, "color") is Color
    assert said(of_module, "limited") == Annotated[int, "x"]
    assert said(of_function, "local") is Local
    assert said(Paints().by_kind, "kind") is Paints.Kind
    assert said(Paints.of_class, "kind") is Paints.Kind
    assert said(Paints().many, "many") == list[int]


def test_text_within_a_type_is_evaluated() -> None:
    def method() -> None: ...

    assert evaluated(list["Color"], method) == list[Color]
    assert evaluated(Optional["Color"], method) == (Color | None)
    assert evaluated(int, method) is int


def test_function_that_wraps_another_has_the_names_of_that() -> None:
    kind = Color

    def method(self: object, color: kind) -> object:  # type: ignore[valid-type]  # as it stands, at run time
        return kind

    wrapped: Any = functools.wraps(method)(lambda self, color: None)
    assert said(wrapped.__get__(Paints()), "color") is Color
    assert evaluated("int", functools.partial(method)) is int


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Unknown", "name 'Unknown' is not defined"),
        ("list[Unknown]", "name 'Unknown' is not defined"),
        ("functools.nothing", "has no attribute 'nothing'"),
        ("Color | 'x", "must be an expression"),
    ],
)
def test_text_that_cannot_be_evaluated_is_told(text: str, why: str) -> None:
    def method() -> None: ...

    with pytest.raises(
        TypeError, match=f"^annotation {re.escape(repr(text))} cannot be evaluated "
    ) as caught:
        evaluated(text, method)
    assert why in str(caught.value)
    with pytest.raises(TypeError, match="cannot be evaluated"):
        evaluated(list["Unknown"], method)


def test_name_that_has_no_value_yet_cannot_be_evaluated() -> None:
    def method(later: Later) -> type[Any]:
        return Later

    with pytest.raises(TypeError, match="name 'Later' is not defined"):
        said(method, "later")

    class Later: ...
