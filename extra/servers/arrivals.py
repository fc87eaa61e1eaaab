"""Requests as they arrive: what has to be known of them before they are answered."""

from collections.abc import Awaitable, Callable
from typing import final

from mypy_extensions import mypyc_attr

from extra.http import Begin, Request, Response
from extra.servers.proxies import TrustedProxies

__all__ = ["Arrivals"]


@final
@mypyc_attr(native_class=True)
class Arrivals:
    """What a server serves: an application, whose requests say where they come from, and are counted."""

    def __init__(
        self,
        begin: Begin,
        proxies: TrustedProxies | None = None,
        *,
        secure: bool = False,
        root_path: str = "",
        limit: int = 0,
        passed: Callable[[], None] | None = None,
    ) -> None:
        """Hand requests to `begin`.

        `proxies` are believed. `secure` says that connections are encrypted, `root_path` where a proxy has
        mounted the application. `passed` is called with the request that makes `limit` of them; 0 is none.
        """
        self._begin = begin
        self._proxies = proxies
        self._secure = secure
        self._root_path = root_path
        self._left = limit
        self._passed = passed

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        return self.begin(request)

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `request`, as far as that need not wait. A `Begin`."""
        if self._secure:
            request.scheme = "https"
        if self._root_path:
            request.root_path = self._root_path
        if self._proxies is not None:
            self._proxies.correct(request)
        if self._left:
            self._left -= 1
            if not self._left and self._passed is not None:
                self._passed()
        return self._begin(request)
