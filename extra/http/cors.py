"""Letting pages of other origins in (the Fetch standard, section CORS)."""

from collections.abc import Sequence
from typing import Final

from extra.http.request import Request
from extra.http.response import Response
from extra.http.router import Handler

__all__ = ["CORS"]

ANY: Final = "*"


class CORS:
    """A middleware that answers preflights, and tells browsers which pages may read what is answered.

        app = server(Rooms, middleware=[CORS(["https://app.example.org"])])

    It lets nobody in or out by itself: who is not told that it may, is kept from reading by the browser.
    """

    def __init__(
        self,
        origins: Sequence[str],
        *,
        methods: Sequence[str] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        headers: Sequence[str] = (ANY,),
        exposed: Sequence[str] = (),
        credentials: bool = False,
        max_age_s: int = 600,
    ) -> None:
        """Let pages of `origins` in, such as `https://example.org:8443`, or of any, which is `"*"`.

        `methods` and `headers` are what they may ask with, `exposed` the header fields of responses that
        they may see. With `credentials`, browsers send cookies along.

        Raises:
            ValueError: any page at all would be let in with credentials.
        """
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._any = ANY in self._origins
        if self._any and credentials:
            raise ValueError("any origin with credentials: every page could act for its visitors")
        self._credentials = credentials
        self._headers = [header.lower() for header in headers]
        common = [("Access-Control-Allow-Credentials", "true")] if credentials else []
        self._preflight = [
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Max-Age", str(max_age_s)),
            *common,
        ]
        self._simple = [*common]
        if exposed:
            self._simple.append(("Access-Control-Expose-Headers", ", ".join(exposed)))

    async def __call__(self, request: Request, following: Handler) -> Response:
        """Let `following` answer, and add to it what browsers want to know."""
        origin = request.header("origin")
        if origin is None:
            response = await following(request)
            if not self._any:
                response.add_header("Vary", "Origin")
            return response
        allowed = self._any or origin.lower() in self._origins
        if request.method == "OPTIONS" and request.header("access-control-request-method") is not None:
            return Response(204, headers=self._preflight_headers(request, origin) if allowed else ())
        response = await following(request)
        if allowed:
            response.headers = [*response.headers, *self._origin_headers(origin), *self._simple]
        elif not self._any:
            response.add_header("Vary", "Origin")
        return response

    def _preflight_headers(self, request: Request, origin: str) -> list[tuple[str, str]]:
        asked = request.header("access-control-request-headers") or ""
        names = [name.strip() for name in asked.split(",") if name.strip()]
        if ANY not in self._headers:
            names = [name for name in names if name.lower() in self._headers]
        headers = [*self._origin_headers(origin), *self._preflight]
        if names:
            headers.append(("Access-Control-Allow-Headers", ", ".join(names)[:1000]))
        return headers

    def _origin_headers(self, origin: str) -> list[tuple[str, str]]:
        if self._any:
            return [("Access-Control-Allow-Origin", ANY)]
        return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
