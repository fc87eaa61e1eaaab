"""Whether a broker is open: one answer for all of its parts."""

from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import BrokerClosed

__all__ = ["Life"]


@final
@mypyc_attr(native_class=True)
class Life:
    """The time from a broker's start to its end. Who acts for it asks before, and again after a wait."""

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = False

    def check(self) -> None:
        """Raise BrokerClosed unless the broker is open."""
        if not self.is_open:
            raise BrokerClosed("the broker is not open")
