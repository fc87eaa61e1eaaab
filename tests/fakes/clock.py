"""The clock that stands until it is moved: the one of `extra.testing`."""

from extra.testing import FakeClock

__all__ = ["FakeClock"]
