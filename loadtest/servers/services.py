"""Decorated services: the smallest one, and one with many routes.

extra run loadtest.servers.services:hello
"""

from typing import Any, Final

from extra import Request, Response, Service, on, server

__all__ = ["hello", "routes_10", "routes_1000"]

HELLO: Final = b"Hello, World !"


class Hello(Service):
    """The smallest service."""

    @on(GET="{any}")
    async def hello(self, request: Request) -> Response:
        return request.respond(HELLO, b"text/plain")


def many(count: int) -> Any:
    """Return an application of so many routes, `/route-N/{name}`."""

    class Many(Service):
        @on(GET=[f"/route-{number}/{{name}}" for number in range(count)])
        async def hello(self, request: Request, name: str) -> Response:
            return request.respond(HELLO, b"text/plain")

    return server(Many)


hello = server(Hello)
routes_10 = many(10)
routes_1000 = many(1000)
