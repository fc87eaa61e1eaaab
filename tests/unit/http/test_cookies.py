"""Cookies in both directions."""

from typing import Any

import pytest

from extra.http import Request, Response
from extra.http.cookies import COOKIES_LIMIT, format_cookie, parse_cookies


@pytest.mark.parametrize(
    ("field", "cookies"),
    [
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ('a="quoted"', {"a": "quoted"}),
        ("a=", {"a": ""}),
        ("a=x=y", {"a": "x=y"}),
        ("a=1; a=2", {"a": "1"}),
        ("", {}),
        ("flag; =x; a b=1; ok=1", {"ok": "1"}),
        ("a=\x00; b=ü; c=,; d=1", {"d": "1"}),
    ],
)
def test_cookies_of_a_request(field: str, cookies: dict[str, str]) -> None:
    """RFC 6265 4.2.1, 5.4."""
    assert parse_cookies(field) == cookies


def test_number_of_cookies_is_bounded() -> None:
    assert len(parse_cookies("; ".join(f"c{n}=1" for n in range(10_000)))) == COOKIES_LIMIT


def test_several_fields_are_one_list() -> None:
    request = Request("GET", b"/", [(b"cookie", b"a=1"), (b"cookie", b"b=2; a=3")])
    assert request.cookies == {"a": "1", "b": "2"}


def test_cookie_is_kept_from_scripts_and_foreign_sites_unless_told() -> None:
    """RFC 6265 4.1.1, and the attribute SameSite."""
    assert format_cookie("a", "1") == "a=1; Path=/; HttpOnly; SameSite=Lax"
    full = format_cookie(
        "a",
        "1",
        max_age_s=60,
        path="/x",
        domain="example.org",
        secure=True,
        http_only=False,
        same_site="none",
    )
    assert full == "a=1; Path=/x; Domain=example.org; Max-Age=60; Secure; SameSite=None"


@pytest.mark.parametrize(
    ("name", "value", "more"),
    [
        ("a b", "1", {}),
        ("", "1", {}),
        ("a", "1\r\nSet-Cookie: b=2", {}),
        ("a", "1; Domain=evil", {}),
        ("a", "ü", {}),
        ("a", "1", {"path": "/;x"}),
        ("a", "1", {"domain": "x\n"}),
        ("a", "1", {"same_site": "none"}),
        ("__Secure-a", "1", {}),
        ("__Host-a", "1", {"secure": True, "path": "/x"}),
    ],
)
def test_what_cannot_be_a_cookie_is_refused(name: str, value: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cookie"):
        format_cookie(name, value, **more)


def test_response_sets_and_deletes() -> None:
    response = Response().set_cookie("a", "1").delete_cookie("b")
    assert [value for name, value in response.headers if name == "Set-Cookie"] == [
        "a=1; Path=/; HttpOnly; SameSite=Lax",
        "b=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
    ]
    assert response.header("set-cookie") == "a=1; Path=/; HttpOnly; SameSite=Lax"
    assert response.header("x") is None
