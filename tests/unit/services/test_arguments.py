"""What handlers are called with."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from extra.http import CONVERTORS, BadRequest, Convertor, Request
from extra.services import InvalidArguments
from extra.services.arguments import Signature

if TYPE_CHECKING:
    from decimal import Decimal as Unknown


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


def asking(target: str = "/", content_type: str = "", body: bytes = b"", **values: object) -> Request:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    request = Request("POST", target.encode(), headers, body=body)
    request.values = values
    return request


def signature(function: Any, *captured: str) -> Signature:
    kinds = dict.fromkeys(captured, CONVERTORS["str"])
    return Signature(function, {"request": Request}, kinds, others=object)


def test_only_what_is_named_is_given() -> None:
    def method(b: str, request: Request) -> None: ...

    request = asking(a="1", b="2")
    assert signature(method, "a", "b").arguments_of(request) == {"b": "2", "request": request}


def test_request_is_known_by_its_type_or_its_name() -> None:
    def typed(r: Request) -> None: ...
    def named(request) -> None: ...  # type: ignore[no-untyped-def]  # as one writes it

    request = asking()
    assert signature(typed).arguments_of(request) == {"r": request}
    assert signature(named).arguments_of(request) == {"request": request}


def test_all_that_is_captured_goes_to_who_takes_all() -> None:
    def method(a: int, **rest: str) -> None: ...

    assert signature(method, "a", "b").arguments_of(asking(a="1", b="2")) == {"a": 1, "b": "2"}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "7", 7),
        (float, "7", 7.0),
        (bool, "true", True),
        (bool, "0", False),
        (UUID, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        (date, "2026-01-02", date(2026, 1, 2)),
        (Color, "red", Color.RED),
        (Literal["a", "b"], "b", "b"),
        (int | None, "7", 7),
        (Annotated[int, msgspec.Meta(ge=1)], "7", 7),
        (str, "7", "7"),
        (Any, "7", "7"),
        (object, "7", "7"),
    ],
)
def test_text_is_converted_to_the_annotation(annotation: Any, text: str, value: object) -> None:
    def method(a): ...  # type: ignore[no-untyped-def]  # it gets its annotation below

    method.__annotations__["a"] = annotation
    assert signature(method, "a").arguments_of(asking(a=text)) == {"a": value}
    assert signature(method).arguments_of(asking(f"/?a={text}")) == {"a": value}


def test_query_gives_what_the_path_has_not() -> None:
    def method(a: int, many: list[int], b: str = "none", c: str = "none") -> None: ...

    arguments = signature(method, "a").arguments_of(asking("/?many=1&many=2&c=x&c=y", a="1"))
    assert arguments == {"a": 1, "many": [1, 2], "c": "x"}


def test_everything_wrong_is_told_at_once_and_by_name() -> None:
    def method(a: int, b: int, c: int, d: Annotated[int, msgspec.Meta(le=5)] = 0) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        signature(method, "a").arguments_of(asking("/?b=x&d=6", a="1.5"))
    assert caught.value.status == 400
    assert caught.value.members["errors"] == [
        {"field": "a", "in": "path", "message": "expected `int`, got `str`"},
        {"field": "b", "in": "query", "message": "expected `int`, got `str`"},
        {"field": "c", "in": "query", "message": "is missing"},
        {"field": "d", "in": "query", "message": "expected `int` <= 5"},
    ]
    assert str(caught.value).startswith("invalid arguments: a (path): expected `int`, got `str`; b (query): ")


def test_annotation_that_cannot_be_evaluated_is_told_of_its_parameter() -> None:
    def captured(a: Unknown, b: int) -> None: ...
    def asked(a: int, b: Unknown | None = None) -> None: ...

    told = "parameter '{}': annotation '{}' cannot be evaluated (name 'Unknown' is not defined)"
    with pytest.raises(TypeError, match=re.escape(told.format("a", "Unknown"))):
        signature(captured, "a", "b")
    with pytest.raises(TypeError, match=re.escape(told.format("b", "Unknown | None"))):
        signature(asked, "a")


def test_annotation_that_nothing_depends_on_need_not_be_evaluated() -> None:
    def method(request: Unknown, a: int, *more: Unknown, **rest: Unknown) -> Unknown: ...  # type: ignore[empty-body]  # it is not called

    request = asking(a="1", b="2")
    assert signature(method, "a", "b").arguments_of(request) == {"request": request, "a": 1, "b": "2"}


def test_list_may_be_one_of_several_types() -> None:
    def method(
        few: Annotated[list[str], msgspec.Meta(max_length=2)], tags: list[int] | None = None
    ) -> None: ...

    arguments = signature(method).arguments_of(asking("/?tags=1&tags=2&few=a"))
    assert arguments == {"tags": [1, 2], "few": ["a"]}
    assert signature(method).arguments_of(asking("/?few=a")) == {"few": ["a"]}


@pytest.mark.parametrize(
    ("annotation", "kind", "told"),
    [
        (str, "int", "int, as the pattern gives it, is never converted to str"),
        (UUID, "int", "int, as the pattern gives it, is never converted to uuid.UUID"),
        (Literal["a"], "int", r"int, as the pattern gives it, is never converted to Literal\['a'\]"),
        (bool, "float", "float, as the pattern gives it, is never converted to bool"),
        (int, "uuid", "uuid.UUID, as the pattern gives it, is never converted to int"),
        (str, "date", "datetime.date, as the pattern gives it, is never converted to str"),
        (list[str], "path", r"str, as the pattern gives it, is never converted to list\[str\]"),
        (Point, "str", "str, as the pattern gives it, is never converted to .*Point"),
        (int, "color", ".*Color, as the pattern gives it, is never converted to int"),
        (list[int] | set[int], "str", "nothing can be converted to "),
    ],
)
def test_kind_in_a_pattern_has_to_fit_the_annotation(annotation: Any, kind: str, told: str) -> None:
    def method(a): ...  # type: ignore[no-untyped-def]  # it gets its annotation below

    method.__annotations__["a"] = annotation
    kinds = {"a": {**CONVERTORS, "color": Convertor("[a-z]+", Color)}[kind]}
    with pytest.raises(TypeError, match=f"^parameter 'a': {told}"):
        Signature(method, {}, kinds, others=str)


def test_kind_in_a_pattern_that_fits_or_is_not_known_is_taken() -> None:
    def method(a: float, b: Color, c: int, d: Color) -> None: ...

    kinds = {
        "a": CONVERTORS["int"],
        "b": Convertor("[a-z]+", Color),
        "c": Convertor("[0-9a-f]+", lambda text: int(text, 16)),
        "d": Convertor("[a-z]+", lambda text: Color(text), gives=Color),
    }
    read = Signature(method, {}, kinds, others=str)
    request = asking(a=1, b=Color.RED, c=255, d=Color.RED)
    assert read.arguments_of(request) == {"a": 1, "b": Color.RED, "c": 255, "d": Color.RED}


def test_query_has_texts_alone() -> None:
    def one(points: Point | None = None) -> None: ...
    def several(points: list[Point]) -> None: ...

    for function in (one, several):
        with pytest.raises(
            TypeError, match=r"^parameter 'points': str, as the query gives it, is never converted"
        ):
            Signature(function, {}, {}, others=str)
        assert [each.name for each in Signature(function, {}, {}, others=object).others] == ["points"]


def test_parameter_that_comes_from_nowhere_is_refused() -> None:
    def method(message: str, other: int) -> None: ...
    def positional(a: int, /) -> None: ...
    def optional(other: int = 1) -> None: ...

    with pytest.raises(TypeError, match="'other' can come from nowhere: there is message, level"):
        Signature(method, {"message": str}, {"level": CONVERTORS["str"]}, others=None)
    with pytest.raises(TypeError, match="positional only"):
        signature(positional, "a")
    assert Signature(optional, {}, {}, others=None).others == []


async def test_body_gives_what_path_and_query_have_not() -> None:
    def method(a: int, b: int, point: Point, tags: list[str], c: bool = False) -> None: ...

    body = b'{"point": {"x": 1}, "tags": ["t"], "a": 100, "b": 100}'
    request = asking("/?b=2", "application/json", body, a="1")
    assert await signature(method, "a").all_arguments_of(request) == {
        "a": 1,
        "b": 2,
        "point": Point(1),
        "tags": ["t"],
    }


async def test_json_has_types_already() -> None:
    def method(a: int) -> None: ...

    with pytest.raises(InvalidArguments, match=r"a \(body\): expected `int`, got `str`"):
        await signature(method).all_arguments_of(asking("/", "application/json", b'{"a": "1"}'))
    with pytest.raises(InvalidArguments, match=r"a \(body\): is missing"):
        await signature(method).all_arguments_of(asking())
    for body in (b"[]", b"{"):
        with pytest.raises((BadRequest, Exception), match=r"JSON"):
            await signature(method).all_arguments_of(asking("/", "application/json", body))


async def test_form_gives_texts() -> None:
    def method(a: int, many: list[int], b: str = "") -> None: ...

    form = "application/x-www-form-urlencoded"
    request = asking("/", form, b"a=1&many=2&many=3&b=x")
    assert await signature(method).all_arguments_of(request) == {"a": 1, "many": [2, 3], "b": "x"}
