"""Paths and methods find their handlers."""

import pytest

from extra.errors import RemoteProtocolError
from extra.http import Handler, MethodNotAllowed, NotFound, Request, Response, Router


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
    for path in ("/t/%ff", "/t/%", "/rooms/%zz/users/1"):
        with pytest.raises(RemoteProtocolError):
            await found(router, path)


@pytest.mark.parametrize("pattern", ["", "t", "/{", "/}", "/{}", "/{a:path}/b", "/{a:int}", "/{1}"])
def test_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|last"):
        Router().add("GET", pattern, naming("x"))


def test_second_handler_for_the_same_is_refused(router: Router) -> None:
    for pattern in ("/", "/t/{topic:path}"):
        with pytest.raises(ValueError, match="two handlers for GET"):
            router.add("GET", pattern, naming("x"))
