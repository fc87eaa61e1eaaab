"""Cookies (RFC 6265): what a request brings, and the field that sets one."""

import re
from typing import Final, Literal, TypeAlias

__all__ = ["SameSite", "format_cookie", "parse_cookies"]

SameSite: TypeAlias = Literal["lax", "strict", "none"]

NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
VALUE: Final = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")
ATTRIBUTE: Final = re.compile(r"[\x20-\x3A\x3C-\x7E]*")

COOKIES_LIMIT: Final = 300
"""Cookies of one request that are looked at: browsers keep some 180 for a site."""


def parse_cookies(field: str) -> dict[str, str]:
    """Return the cookies of a `Cookie` field; of several with one name the first, which is the most specific.

    What is no cookie is left out, as clients send what servers long gone have set (RFC 6265 5.4).
    """
    cookies: dict[str, str] = {}
    for pair in field.split(";", COOKIES_LIMIT)[:COOKIES_LIMIT]:
        name, equals, value = pair.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if equals and NAME.fullmatch(name) and VALUE.fullmatch(value):
            cookies.setdefault(name, value)
    return cookies


def format_cookie(
    name: str,
    value: str,
    *,
    max_age_s: int | None = None,
    path: str = "/",
    domain: str = "",
    secure: bool = False,
    http_only: bool = True,
    same_site: SameSite = "lax",
) -> str:
    """Return the value of a `Set-Cookie` field. Without `max_age_s` the browser's session ends the cookie.

    Raises:
        ValueError: something in it cannot stand there, such as a line break, a comma or a semicolon; or the
            browser would not take it: `same_site="none"`, and a name that begins with `__Secure-` or
            `__Host-`, go with `secure` alone.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} cannot be the name of a cookie")
    if not VALUE.fullmatch(value):
        raise ValueError(f"the value of cookie {name!r} has characters that have to be encoded")
    if not (ATTRIBUTE.fullmatch(path) and ATTRIBUTE.fullmatch(domain)):
        raise ValueError(f"cookie {name!r} has a path or a domain that cannot be written")
    if not secure and (same_site == "none" or name.startswith(("__Secure-", "__Host-"))):
        raise ValueError(f"cookie {name!r} has to be secure")
    if name.startswith("__Host-") and (domain or path != "/"):
        raise ValueError(f"cookie {name!r} is for one host and all of its paths")
    parts = [f"{name}={value}", f"Path={path}"]
    if domain:
        parts.append(f"Domain={domain}")
    if max_age_s is not None:
        parts.append(f"Max-Age={max_age_s}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    parts.append(f"SameSite={same_site.capitalize()}")
    return "; ".join(parts)
