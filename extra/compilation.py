"""Whether the compiled modules run."""

from typing import Final

from extra.topics import names

__all__ = ["COMPILED"]

COMPILED: Final[bool] = names.__file__.endswith(".so")
"""Whether the modules that compiled.txt lists run as compiled extensions.

False when they run from their sources.
"""
