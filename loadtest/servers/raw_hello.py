"""The smallest ASGI application.

uvicorn loadtest.servers.raw_hello:app
"""

from typing import Any, Final

__all__ = ["app"]

HEADERS: Final = [(b"content-type", b"text/plain"), (b"content-length", b"14")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say hello to whatever is asked."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, World !"})
