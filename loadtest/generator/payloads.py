"""The messages of the load: JSON of a given size that carries a number and the time at which it was due."""

import re
from typing import Final

__all__ = ["BEGUN", "FIRST", "LEAST_BYTES", "MESSAGE", "message_of"]

FIRST: Final = 1_000_000_000
"""The number of the first message: all numbers have ten digits, and JSON allows no zeros in front."""

LEAST_BYTES: Final = 64

MESSAGE: Final = re.compile(rb'\{"seq":(\d{10}),"at":(\d+\.\d{6}),"pad":"x*"\}')
"""Finds whole messages in whatever a protocol puts around them."""


BEGUN: Final = re.compile(rb'\{"seq":(\d{10}),')
"""Finds a message that may not have come as a whole."""


def message_of(number: int, at: float, size: int) -> bytes:
    """Return message `number`, counted from 0, in exactly `size` bytes, `LEAST_BYTES` or more."""
    head = b'{"seq":%d,"at":%.6f,"pad":"' % (FIRST + number, at)
    return head + b"x" * (size - len(head) - 2) + b'"}'
