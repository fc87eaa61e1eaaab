"""What the commands about stores share: which store, and how far they have come."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from broker.commands.options import Option, UsageError
from broker.engines import StoreRefused
from broker.engines.store import Store
from broker.loading import load
from broker.settings import Settings, SettingsError

__all__ = ["CONFIG_OPTION", "STORE_OPTION", "open_store", "settings_of", "store_path", "with_progress"]

STORE_OPTION: Final = Option("--store", "PATH", "the store, also EXTRA_BROKER_STORE_PATH, or as in FILE")
CONFIG_OPTION: Final = Option("--config", "FILE", "the broker's TOML file, also EXTRA_BROKER_CONFIG")

_T = TypeVar("_T")


def settings_of(options: Mapping[str, str]) -> Settings:
    """Return the settings that a broker would have with these options of a command, and this environment.

    Raises:
        UsageError: they are wrong.
    """
    config = options.get(CONFIG_OPTION.flag, os.environ.get("EXTRA_BROKER_CONFIG", ""))
    flags = [(STORE_OPTION.flag, options[STORE_OPTION.flag])] if STORE_OPTION.flag in options else []
    try:
        return load(config, os.environ, flags)
    except SettingsError as error:
        raise UsageError(str(error)) from None


def store_path(options: Mapping[str, str]) -> str:
    """Return the path of the store. Raises UsageError when none is named."""
    path = settings_of(options).store.path
    if not path:
        raise UsageError("no store is named: --store PATH")
    return path


@contextmanager
def open_store(path: str, epoch: str = "") -> Iterator[Store]:
    """Open a store that no broker has open; without `epoch` there has to be one already.

    Raises:
        StoreRefused: it cannot be used.
    """
    if not epoch and not os.path.exists(path):
        raise StoreRefused(f"{path}: there is no such file")
    store = Store(path)
    store.open(epoch)
    try:
        store.find_topics()
        yield store
    finally:
        store.close()


def with_progress(items: Iterable[_T], total: int | None, what: str) -> Iterator[_T]:
    """Pass the items on, with a bar on standard error that shows how far it is, where that is a terminal."""
    from tqdm import tqdm  # not needed before

    with tqdm(
        items,
        desc=what,
        total=total,
        unit=" messages",
        unit_scale=True,
        disable=not _is_terminal(),
        leave=False,
    ) as bar:
        yield from bar


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
