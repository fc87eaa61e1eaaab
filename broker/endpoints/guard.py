"""Who may ask: checks of `Host` against DNS rebinding and of `Origin` against foreign pages, and CORS.

A page of any site can make a browser send requests to loopback. The browser says in `Origin` whose page it
is; and a page whose own name was pointed at 127.0.0.1 says so in `Host`. Both are checked before anything
else looks at a request.
"""

import re
from ipaddress import ip_address
from typing import Final

from broker.settings import Settings
from extra.errors import Forbidden
from extra.http import Handler, Request, Response

__all__ = ["Guard"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})
"""What browsers say of requests that pages of other origins make (W3C Fetch Metadata, `Sec-Fetch-Site`)."""

EXPOSED: Final = (
    "Extra-Cursor, Extra-Complete, Extra-More, Extra-Closed, ETag, Preference-Applied, Retry-After"
)
ALLOWED_METHODS: Final = "GET, HEAD, POST, PUT, DELETE"
PREFLIGHT_AGE_S: Final = 600
HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::[0-9]{1,5})?", re.ASCII)


class Guard:
    """A middleware that refuses strangers and answers CORS preflights."""

    def __init__(self, settings: Settings) -> None:
        self.origins = frozenset([origin.lower() for origin in settings.server.allow_origins])
        self.names = frozenset(
            {
                "localhost",
                settings.server.host.lower(),
                *[name.lower() for name in settings.server.allow_hosts],
            }
        )
        self.last_host = ""  # the last that was checked and let in: checking takes longer than all the rest

    async def __call__(self, request: Request, following: Handler) -> Response:
        """Let `following` answer.

        Raises Forbidden when the request comes from a page that may not ask.
        """
        host = request.host.lower()
        origin = (request.header("origin") or "").lower()
        self._check(request, host, origin)
        if not origin:
            return await following(request)
        is_allowed = origin in self.origins
        is_upgrade = request.header("upgrade") is not None
        if not (is_allowed or _is_same(origin, host)) and (is_upgrade or request.method not in SAFE_METHODS):
            raise Forbidden(f"origin {origin[:80]!r} may not do this (server.allow_origins)")
        if is_allowed and request.method == "OPTIONS" and request.header("access-control-request-method"):
            return Response(204, headers=self._preflight(request, origin))
        response = await following(request)
        if is_allowed:
            response.headers = [*response.headers, *_cors(origin)]
        return response

    def admits(self, request: Request) -> bool:
        """Return whether a request may be answered as if there were no guard; else `__call__` has to see it.

        Raises Forbidden as that does.
        """
        origin = request.header("origin")
        if origin:
            return False
        self._check(request, request.host.lower(), "")
        return True

    def _check(self, request: Request, host: str, origin: str) -> None:
        """Raise Forbidden unless this host may be asked, and not by a page of a foreign site."""
        if not host or host != self.last_host:
            self._check_host(host, request)
            self.last_host = host
        site = request.header("sec-fetch-site")
        if site is not None and site in FOREIGN_SITES and origin not in self.origins:
            self._check_navigation(site, request)

    def _check_navigation(self, site: str, request: Request) -> None:
        """Refuse what a foreign page loads: it is not shown answers, but could ask for many costly ones."""
        if request.header("sec-fetch-mode") != "navigate" or request.method not in SAFE_METHODS:
            raise Forbidden(f"a page of another origin ({site}) may not do this (server.allow_origins)")

    def _check_host(self, host: str, request: Request) -> None:
        found = HOST.fullmatch(host)
        if found is None and request.http_version == "1.0" and not host:
            return  # HTTP/1.0 clients need not say, and browsers do
        name = found["name"].rstrip(".") if found is not None else host
        if name in self.names or name.endswith(".localhost") or _is_address(name):
            return
        raise Forbidden(f"host {host[:80]!r} is not this broker's (server.allow_hosts)")

    def _preflight(self, request: Request, origin: str) -> list[tuple[str, str]]:
        asked = request.header("access-control-request-headers") or ""
        return [
            *_cors(origin),
            ("Access-Control-Allow-Methods", ALLOWED_METHODS),
            ("Access-Control-Allow-Headers", asked[:1000]),
            ("Access-Control-Max-Age", str(PREFLIGHT_AGE_S)),
        ]


def _cors(origin: str) -> list[tuple[str, str]]:
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Vary", "Origin"),
    ]


def _is_same(origin: str, host: str) -> bool:
    """Return whether a page of `origin` was served under `host`; the scheme may differ behind a TLS proxy."""
    scheme, _, authority = origin.partition("://")
    if scheme == "http":
        authority = authority.removesuffix(":80")
        host = host.removesuffix(":80")
    elif scheme == "https":
        authority = authority.removesuffix(":443")
        host = host.removesuffix(":443")
    else:
        return False
    return authority == host


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
