"""Serves the page of an example on a port of its own, with the address of the broker written into it."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

import extra
from extra.http import Request, Response, Router
from extra.servers import Server

__all__ = ["parse_arguments", "run", "serve_page"]

FOLDER = Path(__file__).parent


def parse_arguments(description: str) -> argparse.Namespace:
    """Return where the broker is, and on which port the page is to be."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the broker is")
    parser.add_argument("--port", type=int, default=8000, help="the page's port; 0 picks one")
    return parser.parse_args()


async def serve_page(name: str, url: str, port: int, router: Router | None = None) -> None:
    """Serve `name` at `/`, beside the routes of `router`, until cancelled."""
    page = (FOLDER / name).read_text().replace("{{broker}}", url).encode()
    router = router if router is not None else Router()

    async def show(request: Request) -> Response:
        return Response(200, page, content_type="text/html; charset=utf-8")

    router.add("GET", "/", show)
    async with Server(router) as server:
        (address,) = await server.listen("127.0.0.1", port)
        sys.stdout.write(f"open http://{address[0]}:{address[1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def run(example: Coroutine[Any, Any, None]) -> None:
    """Run an example until Ctrl-C. One line says it when there is no broker."""
    try:
        uvloop.run(example)
    except extra.ExtraError as error:
        sys.exit(f"{error}: make run ARGS='--config examples/broker.toml' starts one")
    except KeyboardInterrupt:
        sys.stdout.write("\n")
