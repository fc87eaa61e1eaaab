"""The daemon `extra-broker`: command line, settings, endpoints, engines, console, metrics."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
