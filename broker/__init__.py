"""The daemon `extra-broker`: command line, settings, endpoints, engines, console, metrics.

import broker

app.mount("/realtime", broker.asgi())       # the same in an application of others
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker.hosting import asgi

__all__ = ["__version__", "asgi"]

__version__: Final = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562): the command line needs none of it."""
    if name != "asgi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from broker.hosting import asgi

    globals()["asgi"] = asgi
    return asgi
