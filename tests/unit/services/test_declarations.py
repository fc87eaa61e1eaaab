"""Decorators note what a method is for, and leave it what it is."""

from math import inf, nan
from typing import Any, assert_type

import pytest

from extra.http import Request
from extra.services import Service, every, expose, on, post, pre, when
from extra.services.declarations import declarations_of


def notes(function: object) -> list[tuple[str, str, str]]:
    found = declarations_of(function)
    assert found is not None
    return [(each.kind, each.methods, each.place) for each in found.places]


def test_function_stays_what_it_is() -> None:
    def plain(self: object) -> int:
        return 7

    decorated = on(GET="/")(plain)
    assert decorated is plain
    assert decorated(None) == 7
    assert declarations_of(test_function_stays_what_it_is) is None


async def test_type_checkers_see_the_function() -> None:
    """What this says is checked by mypy --strict, as all of the tests are."""

    class Sums(Service):
        @expose(GET="/add/{a}/{b}")
        @pre(lambda request: None)
        @every(seconds=5)
        def add(self, a: int, b: int) -> int:
            return a + b

        @on(GET="/text")
        @post(lambda request, response: None)
        @when(lambda request: True)
        async def text(self) -> str:
            return "x"

    assert_type(Sums().add(1, 2), int)
    assert_type(await Sums().text(), str)


def test_places_are_noted_by_kind() -> None:
    @on(GET="/a", POST=["/b", "/c"], GET_HEAD="d")
    @on(TOPIC="t/+", priority=2, timeout_s=1.5)
    def method(self: object) -> None: ...

    assert notes(method) == [
        ("TOPIC", "", "t/+"),
        ("HTTP", "GET", "/a"),
        ("HTTP", "POST", "/b"),
        ("HTTP", "POST", "/c"),
        ("HTTP", "GET HEAD", "d"),
    ]
    found = declarations_of(method)
    assert found is not None
    assert [(each.priority, each.timeout_s) for each in found.places[:2]] == [(2, 1.5), (0, None)]


def test_what_is_around_a_method_is_noted_in_the_order_of_the_page() -> None:
    def one(request: Request) -> None: ...
    def two(request: Request) -> None: ...
    def is_new(request: Request) -> bool:
        return True

    @on(GET="/", quick=True)
    @pre(one)
    @pre(two)
    @post(one)
    @post(two)
    @when(is_new)
    @every(seconds=5)
    def method(self: object) -> None: ...

    found = declarations_of(method)
    assert found is not None
    assert found.before == [one, two]
    assert found.after == [two, one]
    assert found.conditions == [is_new]
    assert found.periods_s == [5]
    assert found.quick


def test_exposed_methods_are_marked() -> None:
    @expose(GET="/api/add/{a}/{b}")
    def add(self: object, a: int, b: int) -> int:
        return a + b

    found = declarations_of(add)
    assert found is not None
    assert found.places[0].exposed


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ({}, "says nothing"),
        ({"get": "/"}, "did you mean GET?"),
        ({"GTE": "/"}, "did you mean GET?"),
        ({"GET_TOPIC": "/"}, "'TOPIC'"),
        ({"XYZZY": "/"}, "there are GET, HEAD"),
    ],
)
def test_unknown_key_is_refused_with_a_hint(places: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        on(**places)


def test_exposing_is_for_http() -> None:
    none: dict[str, Any] = {}
    for places in (none, {"TOPIC": "a"}):
        with pytest.raises(TypeError, match="expose"):
            expose(**places)


def test_period_has_to_be_one() -> None:
    for seconds in (0, -1, nan, inf):
        with pytest.raises(ValueError, match="above 0"):
            every(seconds=seconds)


@pytest.mark.parametrize("timeout_s", [0, -1.5, nan])
def test_time_limit_has_to_be_one(timeout_s: float) -> None:
    for declare in (on, expose):
        with pytest.raises(
            ValueError, match=f"^timeout_s={timeout_s}: it has to be above 0; math.inf is no limit"
        ):
            declare(GET="/", timeout_s=timeout_s)


def test_only_functions_can_be_declared() -> None:
    with pytest.raises(TypeError, match="not a method"):
        on(GET="/")(len)


def test_step_that_is_never_asked_is_refused() -> None:
    def on_message() -> None: ...
    def on_socket() -> None: ...
    def step(request: Request) -> bool:
        return True

    on(PUBLISH="a")(on_message)
    on(WEBSOCKET="/")(on_socket)
    for name, declare, function in (
        ("pre", pre, on_message),
        ("when", when, on_message),
        ("post", post, on_message),
        ("post", post, on_socket),
    ):
        found = declarations_of(declare(step)(function))
        assert found is not None
        with pytest.raises(TypeError, match=rf"^{name}\(\) is never asked"):
            found.check()
        for steps in (found.before, found.after, found.conditions):
            steps.clear()
        found.check()
