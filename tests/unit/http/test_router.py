"""Paths and methods find their handlers."""

from datetime import date
from uuid import UUID

import pytest

from extra.errors import RemoteProtocolError
from extra.http import (
    CONVERTORS,
    Convertor,
    Handler,
    MethodNotAllowed,
    NotFound,
    Request,
    Response,
    Router,
)
from extra.http.router import KNOWN_LIMIT_CHARACTERS, KNOWN_LIMIT_PATHS
from extra.http.router import _Search as Search


def naming(name: str) -> Handler:
    """Return a handler that answers with its name and the parameters."""

    async def handle(request: Request) -> Response:
        return Response(200, repr((name, request.params)).encode())

    return handle


async def found(router: Router, path: str, method: str = "GET") -> object:
    response = await router(Request(method, path.encode()))
    assert isinstance(response.body, bytes)
    return eval(response.body)


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add("GET", "/", naming("root"))
    router.add("GET", "/t/ready", naming("plain"))
    router.add("GET POST PUT", "/t/{topic:path}", naming("topic"))
    router.add("DELETE", "/t/{topic:path}", naming("clear"))
    router.add("GET", "/rooms/{room}/users/{user}", naming("user"))
    router.add("GET", "/rooms/{room}/{rest:path}", naming("rest"))
    return router


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("root", {})),
        ("/t/a", ("topic", {"topic": "a"})),
        ("/t/a/b/c", ("topic", {"topic": "a/b/c"})),
        ("/t/", ("topic", {"topic": ""})),
        ("/t//a", ("topic", {"topic": "/a"})),
        ("/t/a//", ("topic", {"topic": "a//"})),
        ("/t/a%2Fb/%23", ("topic", {"topic": "a/b/#"})),
        ("/t/%C3%A9%0A+", ("topic", {"topic": "é\n+"})),
        ("/t/{topic}", ("topic", {"topic": "{topic}"})),
        ("/t/ready", ("plain", {})),
        ("/%74/r%65ady", ("plain", {})),
        ("/%74/%61%2f", ("topic", {"topic": "a/"})),
        ("/rooms/1/users/2", ("user", {"room": "1", "user": "2"})),
        ("/rooms/a%2Fb/users/%7E", ("user", {"room": "a/b", "user": "~"})),
        ("/rooms/1/other", ("rest", {"room": "1", "rest": "other"})),
        ("/rooms/1/users/2/3", ("rest", {"room": "1", "rest": "users/2/3"})),
    ],
)
async def test_path_finds_its_handler_and_parameters(router: Router, path: str, expected: object) -> None:
    assert await found(router, path) == expected


@pytest.mark.parametrize("path", ["/t", "/nowhere", "//", "/T/a", "/rooms//users/1", "*", "/rooms/1"])
async def test_path_without_a_pattern_is_not_found(router: Router, path: str) -> None:
    with pytest.raises(NotFound, match="no such resource"):
        await found(router, path)


async def test_method_chooses_among_the_handlers_of_a_pattern(router: Router) -> None:
    assert await found(router, "/t/a", "DELETE") == ("clear", {"topic": "a"})
    assert await found(router, "/t/a", "PUT") == ("topic", {"topic": "a"})
    assert await found(router, "/t/ready", "POST") == ("topic", {"topic": "ready"})


async def test_method_that_is_not_there_is_answered_with_those_that_are(router: Router) -> None:
    """RFC 9110 15.5.6."""
    with pytest.raises(MethodNotAllowed) as caught:
        await found(router, "/t/a", "PATCH")
    assert caught.value.response_headers == (("Allow", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),)
    with pytest.raises(MethodNotAllowed) as caught:
        await found(router, "/", "POST")
    assert caught.value.response_headers == (("Allow", "GET, HEAD, OPTIONS"),)


async def test_head_is_answered_as_get(router: Router) -> None:
    assert await found(router, "/", "HEAD") == ("root", {})
    assert await found(router, "/t/a", "HEAD") == ("topic", {"topic": "a"})
    router.add("HEAD", "/", naming("head"))
    assert await found(router, "/", "HEAD") == ("head", {})


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/t/a", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ("*", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
    ],
)
async def test_options_tells_the_methods(router: Router, path: str, allow: str) -> None:
    """RFC 9110 9.3.7."""
    response = await router(Request("OPTIONS", path.encode()))
    assert (response.status, list(response.headers)) == (204, [("Allow", allow)])


async def test_options_may_have_a_handler(router: Router) -> None:
    router.add("OPTIONS", "/", naming("options"))
    assert await found(router, "/", "OPTIONS") == ("options", {})
    with pytest.raises(NotFound):
        await found(router, "/nowhere", "OPTIONS")


async def test_parameter_that_cannot_be_decoded_is_a_malformed_request(router: Router) -> None:
    for path in ("/t/%ff", "/t/%", "/rooms/%zz/users/1", "/nowhere/%"):
        with pytest.raises(RemoteProtocolError):
            await found(router, path)


@pytest.mark.parametrize("pattern", ["", "t", "/{", "/}", "/{}", "/{a:path}/b", "/{a:none}", "/{1}"])
def test_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern"):
        Router().add("GET", pattern, naming("x"))


def test_second_handler_for_the_same_is_refused(router: Router) -> None:
    for pattern in ("/", "/t/{topic:path}"):
        with pytest.raises(ValueError, match="two handlers for GET"):
            router.add("GET", pattern, naming("x"))


async def test_more_said_is_better_whatever_the_order() -> None:
    """Text, text around parameters, a kind, any text, the rest: level by level from the left."""
    router = Router()
    patterns = [
        "/{any}",
        "/a/{name}",
        "/a/{id:int}",
        "/a/{name}.html",
        "/a/b",
        "/{level}/b",
        "/a/{rest:path}",
    ]
    for pattern in patterns:
        router.add("GET", pattern, naming(pattern))
    assert await found(router, "/a/b") == ("/a/b", {})
    assert await found(router, "/a/b.html") == ("/a/{name}.html", {"name": "b"})
    assert await found(router, "/a/7") == ("/a/{id:int}", {"id": "7"})
    assert await found(router, "/a/c") == ("/a/{name}", {"name": "c"})
    assert await found(router, "/a/c/d") == ("/a/{rest:path}", {"rest": "c/d"})
    assert await found(router, "/x/b") == ("/{level}/b", {"level": "x"})
    assert await found(router, "/x/c") == ("/{any}", {"any": "x/c"})
    assert await found(router, "/") == ("/{any}", {"any": ""})


async def test_dead_end_is_left_again() -> None:
    router = Router()
    router.add("GET", "/a/b/c", naming("text"))
    router.add("GET", "/{x}/b/{y:int}", naming("number"))
    router.add("GET", "/a/{rest:any}", naming("rest"))
    assert await found(router, "/a/b/c") == ("text", {})
    assert await found(router, "/a/b/d") == ("rest", {"rest": "b/d"})
    assert await found(router, "/z/b/7") == ("number", {"x": "z", "y": "7"})


async def test_priority_goes_before_what_is_said() -> None:
    router = Router()
    router.add("GET", "/a", naming("text"))
    router.add("GET", "/b", naming("urgent"), priority=3)
    router.add("GET", "/{any}", naming("first"), priority=2)
    router.add("GET", "/{level}", naming("later"), priority=1)
    assert await found(router, "/a") == ("first", {"any": "a"})
    assert await found(router, "/b") == ("urgent", {})
    router.add("GET", "/a", naming("before"), priority=2)
    assert await found(router, "/a") == ("before", {})


async def test_condition_that_does_not_hold_lets_others_have_it() -> None:
    router = Router()
    router.add("GET", "/a", naming("any"))
    router.add("GET", "/a", naming("debug"), condition=lambda request: request.query_value("debug") == "1")
    assert await found(router, "/a?debug=1") == ("debug", {})
    assert await found(router, "/a") == ("any", {})
    router.add("GET", "/b", naming("never"), condition=lambda request: False)
    with pytest.raises(NotFound):
        await found(router, "/b")


async def test_condition_is_asked_for_each_request() -> None:
    router = Router()
    router.add("GET", "/a/{x}", naming("any"))
    router.add("GET", "/a/b", naming("some"), condition=lambda request: bool(request.query))
    for _ in range(3):
        assert await found(router, "/a/b?c") == ("some", {})
        assert await found(router, "/a/b") == ("any", {"x": "b"})


async def test_kind_of_a_service_is_asked_for_each_request() -> None:
    taken: list[str] = []

    def take(text: str) -> list[str]:
        if len(taken) == 2:
            raise ValueError
        taken.append(text)
        return [text]

    router = Router({**CONVERTORS, "own": Convertor("[a-z]+", take)})
    router.add("GET", "/a/{x}", naming("any"))
    router.add("GET", "/a/{y:own}", naming("own"))
    assert [await found(router, "/a/b") for _ in range(3)] == [("own", {"y": "b"})] * 2 + [
        ("any", {"x": "b"})
    ]


async def test_who_changes_parameters_changes_those_of_no_other_request() -> None:
    async def spoil(request: Request) -> Response:
        answer = repr((request.params, dict(request.values))).encode()
        request.params["x"] = "spoilt"
        if isinstance(request.values, dict):
            request.values["x"] = "spoilt"
        return Response(200, answer)

    router = Router()
    router.add("GET", "/a/{x}", spoil)
    router.add("GET", "/b/{x:int}", spoil)
    for _ in range(3):
        assert await found(router, "/a/1") == ({"x": "1"}, {"x": "1"})
        assert await found(router, "/b/1") == ({"x": "1"}, {"x": 1})


async def test_what_is_added_later_counts_for_paths_that_are_known(router: Router) -> None:
    assert await found(router, "/t/a") == ("topic", {"topic": "a"})
    router.add("GET", "/t/a", naming("better"))
    assert await found(router, "/t/a") == ("better", {})


async def test_as_many_paths_are_kept_as_the_limit_says(router: Router) -> None:
    for number in range(2 * KNOWN_LIMIT_PATHS + 2):
        assert await found(router, f"/t/{number}") == ("topic", {"topic": str(number)})
        assert sum(map(len, router._known.values())) <= KNOWN_LIMIT_PATHS
    known = sum(map(len, router._known.values()))
    assert known == 2
    assert await found(router, "/t/" + KNOWN_LIMIT_CHARACTERS * "a")
    assert await found(router, f"/t/{number}", "PUT")
    assert sum(map(len, router._known.values())) == known + 1


async def test_values_are_of_the_kind_that_the_pattern_says() -> None:
    router = Router({**CONVERTORS, "hex": Convertor("[0-9a-f]+", lambda text: int(text, 16))})
    seen: list[object] = []

    async def note(request: Request) -> Response:
        seen.append(dict(request.values))
        return Response()

    router.add("GET", "/{a:int}/{b:float}/{c:uuid}/{d:date}/{e:hex}/{f}", note)
    router.add("GET", "/{year:int}-{name:slug}.{kind}", note)
    await router(Request("GET", b"/-7/1.50/6BA7B810-9dad-11d1-80b4-00c04fd430c8/2026-02-03/ff/%2F"))
    await router(Request("GET", b"/2026-a-b.tar.gz"))
    uuid = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    assert seen == [
        {"a": -7, "b": 1.5, "c": uuid, "d": date(2026, 2, 3), "e": 255, "f": "/"},
        {"year": 2026, "name": "a-b", "kind": "tar.gz"},
    ]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/{a:int}", "/1.0"),
        ("/{a:int}", "/" + "9" * 5000),
        ("/{a:int}", "/%D9%A1"),
        ("/{a:uuid}", "/6ba7b810"),
        ("/{a:date}", "/2026-02-30"),
        ("/{a:slug}", "/a%2Fb"),
        ("/{a}.{b}", "/.x"),
        ("/{a}/{b}", "/a/"),
    ],
)
async def test_text_that_is_not_of_the_kind_is_not_found(pattern: str, path: str) -> None:
    router = Router()
    router.add("GET", pattern, naming("x"))
    with pytest.raises(NotFound):
        await found(router, path)


async def test_text_of_patterns_may_be_of_any_script() -> None:
    """RFC 3986 6.2.2: escapes are the same in upper and lower case."""
    router = Router()
    router.add("GET", "/grüße an/{name}ß", naming("x"))
    assert await found(router, "/gr%c3%bC%C3%9fe%20an/%C3%BC%C3%9f") == ("x", {"name": "ü"})


async def test_work_does_not_grow_with_the_number_of_routes() -> None:
    """Nodes that are looked at: those on the way, among ten routes or a thousand."""

    def visits(count: int) -> int:
        router = Router()
        for number in range(count):
            router.add("GET", f"/api/r{number}/{{id:int}}/items/{{item}}", naming(str(number)))
        request = Request("GET", f"/api/r{count - 1}/7/items/8".encode())
        search = Search(request.raw_path, request)
        search.visit(router._root, 0, (), ())
        return search.visits

    assert visits(10) == visits(1000) == 3


async def test_long_paths_cost_no_more_than_the_tree() -> None:
    router = Router()
    router.add("GET", "/{a}/{b}/c", naming("x"))
    router.add("GET", "/{a}/{b:int}/d", naming("y"))
    for path in ("/1" * 8000, "/" * 16000, "/a/1/c" + "/x" * 9000):
        with pytest.raises(NotFound):
            await found(router, path)


def test_routes_can_be_listed(router: Router) -> None:
    listed = {(route.method, route.pattern.text) for route in router.routes()}
    assert ("GET", "/t/ready") in listed
    assert ("DELETE", "/t/{topic:path}") in listed
    assert len(listed) == 8


async def test_a_route_that_can_answers_at_once_with_its_parameters() -> None:
    def tell(request: Request) -> Response | None:
        return Response(200, request.params["name"].encode()) if request.params["name"] != "later" else None

    router = Router()
    router.add("POST", "/a/{name}", naming("slow"), at_once=tell)
    router.add("POST GET", "/b/{name}", naming("slow"))
    assert [
        (answer := router.at_once(Request(method, path))) and answer.body
        for method, path in (
            ("POST", b"/a/x%2Fy"),
            ("POST", b"/a/later"),
            ("POST", b"/b/x"),
            ("GET", b"/b/x"),
            ("POST", b"/none"),
        )
    ] == [b"x/y", None, None, None, None]
    assert await found(router, "/a/later", "POST") == ("slow", {"name": "later"})
    with pytest.raises(RemoteProtocolError):
        router.at_once(Request("POST", b"/a/%"))
