"""Strangers: foreign origins, rebound names, and the allow-lists."""

import pytest

from broker.endpoints.guard import Guard
from broker.settings import ServerSettings, Settings
from extra.errors import Forbidden
from extra.http import Request, Response
from tests.unit.broker.endpoints.driving import make_request

APP = "https://app.example.org"


def guard(**server: object) -> Guard:
    return Guard(Settings(server=ServerSettings(**server)))  # type: ignore[arg-type]  # the test's own words


async def follow(request: Request) -> Response:
    return Response(200, headers=(("Extra-Cursor", "e1-0"),))


async def ask(
    guard: Guard, method: str = "GET", *, version: str = "1.1", host: str = "127.0.0.1:8080", **headers: str
) -> list[tuple[str, str]] | None:
    """Return the header fields of the answer, None when it was refused."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_request(method, "/t/a", fields | ({"host": host} if host else {}), version=version)
    try:
        return list((await guard(request, follow)).headers)
    except Forbidden:
        return None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.0.2.7",
        "localhost",
        "LocalHost:80",
        "localhost.:80",
        "app.localhost",
        "broker.example.org",
        "allowed.example.org:443",
    ],
)
async def test_addresses_and_known_names_are_hosts(host: str) -> None:
    assert await ask(guard(host="broker.example.org", allow_hosts=("allowed.example.org",)), host=host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "localhost.example.org",
        "evillocalhost",
        "127.0.0.1.example.org",
        "2130706433",
        "[evil]",
        "",
        "localhost, evil.example.org",
        "127.0.0.1:8080:9",
        "user@localhost",
    ],
)
async def test_other_names_are_refused(host: str) -> None:
    """DNS rebinding: a page's own name that was pointed at this machine."""
    assert await ask(guard(), host=host) is None


async def test_the_target_counts_before_the_header() -> None:
    """RFC 9112 3.2.2."""
    request = make_request("GET", "http://evil.example.org/t/a", {"host": "localhost"})
    with pytest.raises(Forbidden, match=r"server\.allow_hosts"):
        await guard()(request, follow)


async def test_http_1_0_need_not_name_a_host() -> None:
    assert await ask(guard(), host="", version="1.0")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost", "localhost:80"),
        ("https://localhost", "localhost:443"),
        ("https://LOCALHOST:8443", "localhost:8443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
async def test_its_own_pages_may_do_everything(origin: str, host: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = await ask(guard(), method, host=host, origin=origin)
        assert answer == [("Extra-Cursor", "e1-0")]
    assert await ask(guard(), host=host, origin=origin, upgrade="websocket")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example.org",
        "http://127.0.0.1:8081",
        "http://localhost:8080",
        "null",
        "file://",
        "chrome-extension://127.0.0.1:8080",
        "http://127.0.0.1:8080, http://evil.example.org",
        "http://127.0.0.1:8080.evil.example.org",
    ],
)
async def test_foreign_pages_neither_publish_nor_open_websockets(origin: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert await ask(guard(allow_origins=(APP,)), method, origin=origin) is None
    for upgrade in ("websocket", "WebSocket", "h2c, websocket"):
        assert await ask(guard(allow_origins=(APP,)), origin=origin, upgrade=upgrade) is None


async def test_foreign_pages_are_not_shown_what_they_read() -> None:
    """The browser keeps an answer without CORS fields from them."""
    answer = await ask(guard(allow_origins=(APP,)), origin="http://evil.example.org")
    assert answer == [("Extra-Cursor", "e1-0")]


async def test_a_refusal_names_the_setting() -> None:
    request = make_request("POST", "/t/a", {"host": "localhost", "origin": "http://evil.example.org"})
    with pytest.raises(Forbidden, match=r"'http://evil.example.org' .*server.allow_origins"):
        await guard()(request, follow)


async def test_allowed_origins_may_do_everything_and_see_the_cursor() -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = dict(await ask(guard(allow_origins=(APP.upper(),)), method, origin=APP) or [])
        assert answer["Access-Control-Allow-Origin"] == APP
        assert "Extra-Cursor" in answer["Access-Control-Expose-Headers"]
        assert answer["Vary"] == "Origin"
    assert await ask(guard(allow_origins=(APP,)), origin=APP, upgrade="websocket")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_foreign_pages_load_is_refused_where_the_browser_says_so(site: str) -> None:
    """An image or a script without CORS says no `Origin`."""
    for mode in ("no-cors", "cors", "websocket", ""):
        for origin in ("", "http://evil.example.org"):
            fields = {"sec_fetch_site": site, "sec_fetch_mode": mode, "origin": origin}
            assert await ask(guard(), **{name: value for name, value in fields.items() if value}) is None
    request = make_request("GET", "/t/a", {"host": "localhost", "sec-fetch-site": site})
    with pytest.raises(Forbidden, match=r"server\.allow_origins"):
        await guard()(request, follow)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_links_on_foreign_pages_may_be_followed(site: str) -> None:
    assert await ask(guard(), sec_fetch_site=site, sec_fetch_mode="navigate")
    assert await ask(guard(), "POST", sec_fetch_site=site, sec_fetch_mode="navigate") is None


async def test_pages_that_are_allowed_and_its_own_may_load() -> None:
    allowing = guard(allow_origins=(APP,))
    assert await ask(allowing, origin=APP, sec_fetch_site="cross-site", sec_fetch_mode="cors")
    for site in ("same-origin", "none"):
        assert await ask(guard(), sec_fetch_site=site, sec_fetch_mode="no-cors")


async def test_a_preflight_of_an_allowed_origin_is_answered() -> None:
    answer = dict(
        await ask(
            guard(allow_origins=(APP,)),
            "OPTIONS",
            origin=APP,
            access_control_request_method="PUT",
            access_control_request_headers="extra-ttl, content-type",
        )
        or []
    )
    assert answer["Access-Control-Allow-Origin"] == APP
    assert "PUT" in answer["Access-Control-Allow-Methods"]
    assert answer["Access-Control-Allow-Headers"] == "extra-ttl, content-type"
    assert int(answer["Access-Control-Max-Age"]) > 0


async def test_a_preflight_of_a_foreign_origin_is_told_nothing() -> None:
    answer = await ask(
        guard(allow_origins=(APP,)),
        "OPTIONS",
        origin="http://evil.example.org",
        access_control_request_method="PUT",
    )
    assert answer == [("Extra-Cursor", "e1-0")]


@pytest.mark.parametrize(
    ("fields", "admitted"),
    [({}, True), ({"origin": APP}, False), ({"sec-fetch-site": "same-origin"}, True)],
)
def test_who_says_no_origin_needs_nothing_more(fields: dict[str, str], admitted: bool) -> None:
    assert guard().admits(make_request("POST", "/t/a", {"host": "localhost", **fields})) is admitted


@pytest.mark.parametrize(
    "fields", [{"host": "evil.example"}, {"host": "localhost", "sec-fetch-site": "cross-site"}]
)
def test_strangers_are_refused_at_once_as_well(fields: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        guard().admits(make_request("POST", "/t/a", fields))
