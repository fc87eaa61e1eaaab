"""Applications of others below a path of services.

app = server(Rooms, Mounted(django, "/site", interface="wsgi"))
"""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Literal, TypeAlias, cast

from extra.bridges.asgi_host import ASGIHost, Lifespan
from extra.bridges.asgi_wires import Receive, Scope, Send
from extra.http import Request, Response
from extra.services import Service, on

__all__ = ["Mounted", "MountedInterface", "asgi3_of_asgi2"]

MountedInterface: TypeAlias = Literal["asgi3", "asgi2", "wsgi"]


class Mounted(Service):
    """Serves an application of ASGI 3, ASGI 2 or WSGI below a prefix, WebSockets included.

    It is started and stopped with the services. It sees where it is mounted as `root_path`, or `SCRIPT_NAME`.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        prefix: str,
        *,
        interface: MountedInterface = "asgi3",
        lifespan: Lifespan = "auto",
    ) -> None:
        """Mount `application` below `prefix`; WSGI needs a2wsgi. `lifespan` is as for `ASGIHost`."""
        self.prefix = prefix  # type: ignore[misc]  # of the class, until an object says otherwise
        if interface == "asgi2":
            application = asgi3_of_asgi2(application)
        elif interface == "wsgi":
            from extra.bridges.wsgi import asgi_of_wsgi  # which needs a2wsgi, an optional dependency

            application = asgi_of_wsgi(application)
            lifespan = "off"
        self._host = _Host(application, "/" + prefix.strip("/"), lifespan)

    async def start(self) -> None:
        await self._host.__aenter__()

    def drain(self) -> None:
        self._host.drain()

    async def stop(self) -> None:
        await self._host.__aexit__(None, None, None)

    @on(GET_HEAD_POST_PUT_PATCH_DELETE_OPTIONS=["{any}", ""], timeout_s=inf)
    async def pass_on(self, request: Request) -> Response:
        """Answer with what the application answers."""
        return await self._host.handle(request)


class _Host(ASGIHost):
    """Tells the application the path as it is from outside, and how much of it is the prefix."""

    def __init__(self, application: Callable[..., Any], prefix: str, lifespan: Lifespan) -> None:
        super().__init__(application, lifespan=lifespan)
        self._prefix = prefix.rstrip("/")

    def scope(self, kind: str, request: Request) -> Scope:
        scope = super().scope(kind, request)
        scope["root_path"] = request.root_path + self._prefix
        scope["path"] = request.root_path + scope["path"]
        scope["raw_path"] = request.root_path.encode() + scope["raw_path"]
        return scope


def asgi3_of_asgi2(application: Callable[..., Any]) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return an application of ASGI 2, which is called twice, as one of ASGI 3."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await cast("Awaitable[None]", application(scope)(receive, send))  # whatever it calls its types

    return call
