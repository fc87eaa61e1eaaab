"""Pages of other origins."""

import pytest

from extra.http import CORS, Request, Response

PAGE = "https://page.example"


async def ask(cors: CORS, method: str = "GET", **headers: str) -> dict[str, str]:
    async def answer(request: Request) -> Response:
        return Response(200, b"x")

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    response = await cors(Request(method, b"/", fields), answer)
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names))
    return {"status": str(response.status), **dict(response.headers)}


async def test_page_that_is_let_in_may_read() -> None:
    cors = CORS([PAGE + "/"], exposed=["X-A", "X-B"], credentials=True)
    assert await ask(cors, origin="https://Page.example") == {
        "status": "200",
        "Access-Control-Allow-Origin": "https://Page.example",
        "Vary": "Origin",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-A, X-B",
    }


async def test_other_pages_and_no_page_are_told_nothing() -> None:
    cors = CORS([PAGE])
    for headers in ({"origin": "https://evil.example"}, {}, {"origin": "null"}):
        assert await ask(cors, **headers) == {"status": "200", "Vary": "Origin"}
    assert await ask(cors, "OPTIONS", origin="https://evil.example", access_control_request_method="PUT") == {
        "status": "204"
    }


async def test_any_page_may_be_let_in_without_credentials() -> None:
    cors = CORS(["*"])
    assert await ask(cors, origin=PAGE) == {"status": "200", "Access-Control-Allow-Origin": "*"}
    assert await ask(cors) == {"status": "200"}
    with pytest.raises(ValueError, match="any origin with credentials"):
        CORS(["*"], credentials=True)


async def test_preflight_is_answered_here() -> None:
    cors = CORS([PAGE], methods=["GET", "PUT"], headers=["X-A", "X-B"], max_age_s=5)
    answer = await ask(
        cors,
        "OPTIONS",
        origin=PAGE,
        access_control_request_method="PUT",
        access_control_request_headers="x-a, X-Other",
    )
    assert answer == {
        "status": "204",
        "Access-Control-Allow-Origin": PAGE,
        "Vary": "Origin",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Max-Age": "5",
        "Access-Control-Allow-Headers": "x-a",
    }
    assert (await ask(cors, "OPTIONS", origin=PAGE))["status"] == "200"


async def test_any_header_may_be_let_in() -> None:
    answer = await ask(
        CORS([PAGE]),
        "OPTIONS",
        origin=PAGE,
        access_control_request_method="PUT",
        access_control_request_headers="X",
    )
    assert answer["Access-Control-Allow-Headers"] == "X"
