"""Extra: a messaging broker for the web, and the kit it is made of. Every topic is a URL."""

from extra.topics import names

__all__ = ["COMPILED"]

COMPILED: bool = names.__file__.endswith(".so")
"""Whether the modules that compiled.txt lists run as compiled extensions; False when they run from their sources."""
