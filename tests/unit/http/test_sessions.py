"""Signed sessions, and visitors who would like to write their own."""

import secrets

import pytest

from extra.http import Request, Response
from extra.http.sessions import Sessions, session_of
from extra.services import Service, Services, expose, on
from extra.testing import FakeClock, TestClient

SECRET = "a secret of more than sixteen bytes"


class Shop(Service):
    @on(GET="/who")
    async def who(self, request: Request) -> object:
        return dict(session_of(request))

    @on(POST="/in/{name}")
    async def enter(self, request: Request, name: str) -> str:
        session_of(request)["user"] = name
        return name

    @on(POST="/out")
    async def leave(self, request: Request) -> None:
        session_of(request).clear()

    @on(POST="/much")
    async def much(self, request: Request) -> None:
        session_of(request)["much"] = secrets.token_hex(5000)

    @expose(GET="/else")
    async def other(self) -> int:
        return 1


async def test_session_is_kept_until_it_is_left() -> None:
    async with TestClient(Services(Shop, middleware=[Sessions(SECRET)])) as client:
        assert (await client.get("/who")).json() == {}
        assert client.cookies == {}
        answer = await client.post("/in/ann")
        assert "HttpOnly" in (answer.header("set-cookie") or "")
        assert answer.header("vary") == "Cookie"
        answer = await client.get("/who")
        assert (answer.json(), answer.header("set-cookie")) == ({"user": "ann"}, None)
        assert (await client.get("/else")).header("vary") is None
        await client.post("/out")
        assert client.cookies == {}


async def test_cookies_that_are_not_ours_count_as_none() -> None:
    async with TestClient(Services(Shop, middleware=[Sessions(SECRET)])) as client:
        await client.post("/in/ann")
        good = client.cookies["session"]
        payload, _, signature = good.partition(".")
        async with TestClient(Services(Shop, middleware=[Sessions("another secret of many bytes")])) as other:
            await other.post("/in/eve")
        for bad in (
            other.cookies["session"],
            "",
            ".",
            "..",
            payload,
            good[:-1],
            good + "x",
            f"{payload}x.{signature}",
            f".{good}",
            "x" * 100_000,
            "e30.AAAA.AAAA",
        ):
            client.cookies["session"] = bad
            answer = await client.get("/who")
            assert (answer.status, answer.json()) == (200, {}), bad[:80]


async def test_sessions_end_and_secrets_change() -> None:
    clock = FakeClock()
    old = Sessions(SECRET, max_age_s=60, clock=clock.time)
    async with TestClient(Services(Shop, middleware=[old])) as client:
        await client.post("/in/ann")
        cookies = client.cookies
    both = Sessions([SECRET, "a newer secret of many bytes"], max_age_s=60, clock=clock.time)
    async with TestClient(Services(Shop, middleware=[both])) as client:
        client.cookies.update(cookies)
        clock.advance(60)
        assert (await client.get("/who")).json() == {"user": "ann"}
        clock.advance(1)
        assert (await client.get("/who")).json() == {}


@pytest.mark.parametrize(
    ("scheme", "secure", "expected"),
    [("http", None, False), ("https", None, True), ("http", True, True), ("https", False, False)],
)
async def test_cookie_is_secure_where_the_request_is(
    scheme: str, secure: bool | None, expected: bool
) -> None:
    async def enter(request: Request) -> Response:
        session_of(request)["user"] = "ann"
        return Response()

    request = Request("POST", b"/", [])
    request.scheme = scheme
    response = await Sessions(SECRET, secure=secure)(request, enter)
    assert ("; Secure" in (response.header("set-cookie") or "")) is expected


async def test_session_that_is_too_large_is_an_error() -> None:
    async with TestClient(Services(Shop, middleware=[Sessions(SECRET)])) as client:
        answer = await client.post("/much")
        assert answer.json()["code"] == "limit_exceeded"
        assert "cookie_limit_bytes=4000" in answer.json()["detail"]


def test_short_secrets_are_refused() -> None:
    for none in ("", "short", [], ["short", SECRET]):
        with pytest.raises(ValueError, match="16 bytes or more"):
            Sessions(none)


async def test_session_needs_the_middleware() -> None:
    async with TestClient(Services(Shop)) as client:
        assert (await client.get("/who")).status == 500
