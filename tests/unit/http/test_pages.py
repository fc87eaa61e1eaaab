"""Errors for who looks at them in a browser."""

import pytest

from extra.http import Request, Response, as_page, debug_response, problem, wants_page

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def accepting(accept: str) -> Request:
    return Request("GET", b"/", [(b"accept", accept.encode())] if accept else [])


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [(BROWSER, True), ("*/*", False), ("", False), ("application/json, text/html", False)],
)
def test_who_wants_a_page(accept: str, wanted: bool) -> None:
    assert wants_page(accepting(accept)) == wanted


def test_problem_becomes_a_page_that_says_the_same() -> None:
    response = as_page(problem(404, "not_found", "no <room>", headers=[("X", "y")]))
    assert (response.status, response.content_type) == (404, "text/html; charset=utf-8")
    assert isinstance(response.body, bytes)
    assert b"<title>404 Not Found</title>" in response.body
    assert b"no &lt;room&gt;" in response.body
    assert list(response.headers) == [("X", "y")]


def test_other_responses_stay() -> None:
    response = Response(404, b"{}", content_type="application/json")
    assert as_page(response) is response
    assert response.body == b"{}"


def test_developers_see_what_went_wrong() -> None:
    error: Exception
    try:
        raise ZeroDivisionError("<secret>")
    except ZeroDivisionError as raised:
        error = raised
    text = debug_response(error, accepting("*/*"), "GET / (Rooms.show)")
    page = debug_response(error, accepting(BROWSER), "GET / (Rooms.show)")
    for response in (text, page):
        assert response.status == 500
        assert isinstance(response.body, bytes)
        assert b"test_pages.py" in response.body
        assert b"GET / (Rooms.show)" in response.body
    assert text.content_type == "text/plain; charset=utf-8"
    assert isinstance(page.body, bytes)
    assert b"<secret>" not in page.body
