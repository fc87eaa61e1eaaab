"""The console at `/`: the files of broker/console, read once.

Under a policy that lets them load nothing else.
"""

import hashlib
from pathlib import Path
from typing import Final

from extra.http import NotFound, Request, Response

__all__ = ["Console"]

FOLDER: Final = Path(__file__).parent.parent / "console"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


class Console:
    """`/` and `/console/{file}`."""

    def __init__(self) -> None:
        self.files = _load()

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return self._respond(request, "index.html")

    async def file(self, request: Request) -> Response:
        """Answer with one of its files. Raises NotFound."""
        return self._respond(request, request.params["file"])

    def _respond(self, request: Request, name: str) -> Response:
        if name not in self.files:
            raise NotFound(f"no file {name[:80]!r} in the console")
        body, content_type, tag = self.files[name]
        headers = (*HEADERS, ("ETag", tag))
        if request.header("if-none-match") == tag:
            return Response(304, headers=headers)
        return Response(200, body, content_type=content_type, headers=headers)


def _load() -> dict[str, tuple[bytes, str, str]]:
    """Read the files: a look-up by name, so that no path leads anywhere else."""
    files = {}
    for path in FOLDER.iterdir():
        if path.suffix in TYPES:
            body = path.read_bytes()
            files[path.name] = (body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')
    return files
