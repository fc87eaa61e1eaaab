"""The command `extra`: runs applications on our server, and tells about them."""

from extra.commands.main import main
from extra.commands.running import RunOptions, run

__all__ = ["RunOptions", "main", "run"]
