"""The memory of this process."""

import os
from pathlib import Path
from typing import Final

__all__ = ["resident_bytes"]

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return what is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
