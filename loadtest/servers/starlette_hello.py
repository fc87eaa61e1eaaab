"""The same in Starlette: one route, one plain answer.

uvicorn loadtest.servers.starlette_hello:app
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

__all__ = ["app"]


async def hello(request: Request) -> PlainTextResponse:
    """Say hello."""
    return PlainTextResponse("Hello, World !")


app = Starlette(routes=[Route("/", hello)])
