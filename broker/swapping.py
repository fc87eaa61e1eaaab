"""Swapping the services that are served besides the broker when their files change: `server.reload`."""

from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from broker.settings import Settings
from extra.commands.generations import Generations
from extra.commands.loading import Loaded, LoadError, find, host
from extra.commands.watching import Watched, reload_on_change
from extra.pubsub import Broker

__all__ = ["check_reloading", "swapped"]


def check_reloading(settings: Settings) -> None:
    """Raise LoadError when the services are to be swapped, and cannot be."""
    server = settings.server
    if not server.reload:
        return
    if not server.app:
        raise LoadError("server.reload needs services to swap, in server.app")
    if find_spec("watchfiles") is None:
        raise LoadError("server.reload needs watchfiles: install extra-broker[reload]")
    for directory in server.reload_dirs:
        if not Path(directory).is_dir():
            raise LoadError(f"server.reload_dirs: {directory!r} is no directory")


def swapped(first: Loaded, broker: Broker, settings: Settings) -> tuple[Loaded, Coroutine[Any, Any, None]]:
    """Return `first`, the services of `server.app`, so that they can be replaced, and what does that.

    Every generation of them is on `broker`, whose own subscribers notice nothing.
    """
    generations = Generations(first, broker)
    directories = tuple(Path(each).resolve() for each in settings.server.reload_dirs or (".",))

    def load() -> Loaded:
        return host(find(settings.server.app))

    return generations.loaded, reload_on_change(generations, load, Watched(directories))
