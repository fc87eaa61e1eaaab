"""Importing an application's modules anew, without losing those that are there."""

import importlib
import linecache
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["renewed_modules"]

OURS: Final = ("extra", "broker", "__main__", "__mp_main__")
"""What is never imported anew: it is what runs."""

INSTALLED: Final = ("site-packages", "dist-packages")


@contextmanager
def renewed_modules(directories: Sequence[Path]) -> Iterator[None]:
    """Let what is imported within be imported anew, as far as it lies below one of `directories`.

    When the block raises, the modules that were there before are there again: code that still runs goes on
    importing what it did. Installed packages stay as they are. Nothing is taken from, or written to, files of
    byte code: they go by the second, and a file may change twice within one.
    """
    before = {name: module for name, module in sys.modules.items() if is_below(name, module, directories)}
    for name in before:
        del sys.modules[name]
    writes_byte_code, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    linecache.checkcache()
    for module in before.values():
        drop_byte_code(module)
    try:
        yield
    except BaseException:
        for name in [name for name, each in sys.modules.items() if is_below(name, each, directories)]:
            del sys.modules[name]
        sys.modules.update(before)
        raise
    finally:
        sys.dont_write_bytecode = writes_byte_code


def is_below(name: str, module: ModuleType | None, directories: Sequence[Path]) -> bool:
    """Return whether a module is one of the application's."""
    file = getattr(module, "__file__", None)
    if file is None or name.partition(".")[0] in OURS:
        return False
    path = Path(file)
    return any(path.is_relative_to(each) for each in directories) and not set(INSTALLED) & set(path.parts)


def drop_byte_code(module: ModuleType) -> None:
    """Remove what has been kept of a module's byte code, where that can be done."""
    cached = getattr(module, "__cached__", None)
    if cached is not None:
        try:
            Path(cached).unlink(missing_ok=True)
        except OSError:
            return  # it cannot be written either, then
