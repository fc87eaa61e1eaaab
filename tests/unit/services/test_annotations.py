"""What annotations say, as text and otherwise."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from uuid import UUID

import msgspec
import pytest

from extra.services.annotations import Annotation, evaluated

if TYPE_CHECKING:
    from fractions import Fraction as Unknown


KINDS: dict[str, type] = {}


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
        ("", ""),  # whatever it is called
        ("KINDS['color']", "'color'"),
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


class Level(IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int


class Pair(NamedTuple):
    first: int


class Movement(TypedDict):
    x: int


class Text(str):
    __slots__ = ()


TEXTS = (
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "1",
    "1.5",
    "true",
    "null",
    "red",
    "2026-01-02",
    "2026-01-02T03:04:05Z",
    "03:04:05",
    "P1D",
    "MTEx",
)
SAMPLES: dict[type, tuple[Any, ...]] = {
    str: TEXTS,
    Text: tuple(map(Text, TEXTS)),
    bool: (True,),
    int: (0, 1),
    Level: (Level.LOW,),
    float: (1.0, 1.5),
    Decimal: (Decimal("1.5"),),
    UUID: (UUID(int=1),),
    date: (date(2026, 1, 2),),
    datetime: (datetime(2026, 1, 2),),
    Color: (Color.RED,),
    Point: (Point(1),),
    tuple: ((1,),),
    Pair: (Pair(1),),
    dict: ({"x": 1},),
}
WANTED: tuple[Any, ...] = (
    *(str, bytes, bytearray, memoryview, bool, int, float, Decimal, UUID, date, datetime, time, timedelta),
    *(None, Color, Level, Literal["red"], Literal[1], Any, object, Point, Text, Paints),
    *(int | None, Annotated[int, msgspec.Meta(ge=1)], UUID | int, Annotated[str, msgspec.Meta(title="t")]),
    *(list[int], tuple[int, ...], Pair, dict[str, int], Movement, list[int] | None, set[int]),
)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("wanted", WANTED)
def test_value_may_become_what_msgspec_makes_of_it(kind: type, wanted: Any) -> None:
    made = False
    for sample in SAMPLES[kind]:
        try:
            made |= msgspec.convert(sample, wanted, strict=False) is not None
        except msgspec.ValidationError:
            continue
    assert Annotation(wanted).may_come_from(kind) == made


@pytest.mark.parametrize(
    ("wanted", "is_list", "may"),
    [
        (list[int], True, True),
        (Sequence[Color] | None, True, True),
        (Annotated[set[str], msgspec.Meta(max_length=3)], True, True),
        (tuple[int, str], True, True),
        (frozenset[UUID] | int, True, True),
        (list[Point], True, False),
        (tuple[int, Point], True, False),
        (list, True, True),
        (int, False, False),
        (Iterator[int], False, False),
    ],
)
def test_several_texts_may_become_a_list(wanted: Any, is_list: bool, may: bool) -> None:
    annotation = Annotation(wanted)
    assert (annotation.is_list, annotation.may_come_from_several(str)) == (is_list, may)


def test_what_nothing_can_be_converted_to_is_refused() -> None:
    @dataclass
    class Lacking:
        x: Unknown

    for wanted in (int | Color | Level, list[int] | set[int], 7, Lacking):
        with pytest.raises(TypeError, match=r"^nothing can be converted to "):
            Annotation(wanted)
