"""Files of a folder as a service: `server(Rooms, Files("public", prefix="/static"))`."""

import os
from asyncio import to_thread
from pathlib import Path
from typing import Final

from extra.http import NotFound, Redirect, Request, Response, file_response
from extra.http.files import COMPRESSED
from extra.services.declarations import on
from extra.services.service import Service

__all__ = ["Files"]

INDEX: Final = "index.html"


class Files(Service):
    """Serves what is in a folder, and nothing that is elsewhere or hidden.

    Neither `..` nor a link leads out of the folder. Names that begin with a dot are not there. A folder is
    answered with its `index.html`. A file beside another that ends in `.br`, `.zst` or `.gz` is that one,
    compressed, for clients that take it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        prefix: str = "/static",
        cache_control: str = "no-cache",
        index: bool = True,
    ) -> None:
        """Serve `folder` below `prefix`; `no-cache` has browsers ask whether a file has changed.

        Raises:
            NotADirectoryError: there is no such folder.
        """
        self._folder = Path(folder).resolve()
        if not self._folder.is_dir():
            raise NotADirectoryError(f"no folder {str(folder)!r}")
        self.prefix = prefix  # type: ignore[misc]  # of the class, until an object says otherwise
        self._cache_control = cache_control
        self._index = index

    @on(GET_HEAD="{any}")
    async def file(self, request: Request, any: str) -> Response:
        """Answer with a file. Raises NotFound, and Redirect to a folder that lacks its slash."""
        levels = any.split("/")
        if levels[-1] == "" and self._index:
            levels[-1] = INDEX
        for level in levels:
            if level.startswith(".") or not level or "\\" in level or "\0" in level:
                raise NotFound("no such file")
        path = self._folder.joinpath(*levels)
        leads_out, copy_leads_out = await to_thread(self._looked_at, path)
        if leads_out:
            raise NotFound("no such file")
        try:
            return await file_response(
                request, path, cache_control=self._cache_control, compressed=not copy_leads_out
            )
        except NotFound:
            if self._index and await to_thread(os.path.isfile, path / INDEX):  # which no path is too long for
                raise Redirect(f"{request.root_path}{request.raw_path}/") from None
            raise

    @on(GET_HEAD="", priority=-1)
    async def folder(self, request: Request) -> Response:
        """Answer at the prefix without a slash, where nobody else does: as a folder does below."""
        if self._index and await to_thread(os.path.isfile, self._folder / INDEX):
            raise Redirect(f"{request.root_path}{request.raw_path}/")
        raise NotFound("no such file")

    def _looked_at(self, path: Path) -> tuple[bool, bool]:
        """Say whether a link on the way leads out of the folder, and whether a compressed copy is one."""
        copies = [path.with_name(path.name + ending) for _, ending in COMPRESSED]
        return self._leads_out(path), any(os.path.islink(copy) and self._leads_out(copy) for copy in copies)

    def _leads_out(self, path: Path) -> bool:
        try:
            return not path.resolve().is_relative_to(self._folder)
        except (OSError, RuntimeError):  # links that lead round in a circle
            return True
