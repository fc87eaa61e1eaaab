"""A real `extra-broker` in a process of its own: the one of `extra.testing`."""

from extra.testing.daemon import END_LIMIT_S, Daemon, environment

__all__ = ["END_LIMIT_S", "Daemon", "environment"]
