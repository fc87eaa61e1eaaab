"""Files that change, with watchfiles, and what is done about it: `--reload`."""

import asyncio
import importlib
import logging
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from extra.commands.generations import Generations
from extra.commands.loading import Loaded, LoadError
from extra.commands.reimporting import renewed_modules

__all__ = ["Watched", "reload_on_change"]

logger = logging.getLogger("extra.commands")

UNWATCHED: Final = (".*", "__pycache__", "node_modules", "site-packages", "*~")
"""Names of files, and of directories on the way to one, that say nothing about an application."""

GROUPING_S: Final = 1.6
"""For so long at most, changes that follow each other are waited for."""

SHOWN_FILES: Final = 3

NOT_THEIRS: Final = (str(Path(__file__).parents[1]), importlib.__file__, "<frozen importlib")
"""Files of which calls in a traceback say nothing to whoever has written the application."""

SERVES_ON: Final = "the application that was there serves on"


@dataclass(frozen=True, slots=True)
class Watched:
    """Which files are watched: `*.py` and `includes` below `directories`, without `excludes`.

    `delay_s` is how long nothing must have changed before something is done.
    """

    directories: tuple[Path, ...]
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    delay_s: float = 0.25

    def watches(self, path: str) -> bool:
        """Return whether a change of the file at `path` counts."""
        changed = Path(path)
        for directory in self.directories:
            if changed.is_relative_to(directory):
                parts = changed.relative_to(directory).parts
                unwanted = (*UNWATCHED, *self.excludes)
                if any(fnmatch(part, each) for part in parts for each in unwanted):
                    continue
                return any(fnmatch(changed.name, each) for each in ("*.py", *self.includes))
        return False

    async def changes(self) -> AsyncIterator[list[str]]:
        """Iterate over groups of files that have changed: paths, sorted. Watches once it is asked for one.

        Raises ModuleNotFoundError without watchfiles.
        """
        from watchfiles import awatch

        async for changes in awatch(
            *self.directories,
            watch_filter=lambda _change, path: self.watches(path),
            step=max(int(self.delay_s * 1000), 1),
            debounce=max(int(self.delay_s * 1000), int(GROUPING_S * 1000)),
            recursive=True,
        ):
            yield sorted(path for _change, path in changes)


async def reload_on_change(generations: Generations, load: Callable[[], Loaded], watched: Watched) -> None:
    """Replace the application whenever a file changes, until cancelled.

    `load` imports it, which holds up everything else for as long as it takes. One that does not import, or
    does not start, is told in the log with its traceback, and the one that was there serves on. The next
    change is another try, also where the one before has not come to its end.
    """
    changes = aiter(watched.changes())
    coming = asyncio.ensure_future(anext(changes))
    reloading: Future[bool] | None = None
    try:
        await asyncio.sleep(0)  # from here on it watches
        logger.info("watches %s", ", ".join(str(each) for each in watched.directories))
        while True:
            paths = await coming
            coming = asyncio.ensure_future(anext(changes))
            renewed = renewed_modules(watched.directories)
            reloading = asyncio.ensure_future(reload(generations, load, renewed, paths))
            await asyncio.wait([reloading, coming], return_when=asyncio.FIRST_COMPLETED)
            if not reloading.done():
                logger.warning("files have changed again before the application has started: another try")
                await cancelled(reloading)
    finally:
        await cancelled(coming)
        await cancelled(reloading)


async def cancelled(work: Future[Any] | None) -> None:
    """End some work, if there is any that has not ended."""
    if work is not None:
        work.cancel()
        await asyncio.wait([work])


async def reload(
    generations: Generations,
    load: Callable[[], Loaded],
    renewed: AbstractContextManager[None],
    paths: Sequence[str],
) -> bool:
    """Replace the application by one that is imported anew, and return whether that was done."""
    names = ", ".join(Path(path).name for path in paths[:SHOWN_FILES])
    more = f" and {len(paths) - SHOWN_FILES} more" if len(paths) > SHOWN_FILES else ""
    try:
        with renewed:
            await generations.replace(load())
    except LoadError as error:
        logger.error("not reloaded after %s%s changed: %s; %s", names, more, error, SERVES_ON)
    except (Exception, SystemExit) as error:
        trace = traceback_of(error)
        logger.error("not reloaded after %s%s changed: %s", names, more, SERVES_ON, exc_info=trace)
    else:
        logger.info("reloaded after %s%s changed", names, more)
        return True
    return False


def traceback_of(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an error for the log, without the calls that led from us to the application's own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(NOT_THEIRS):
        trace = trace.tb_next
    return type(error), error, trace
