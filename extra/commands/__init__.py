"""The command `extra`: runs applications on our server, and tells about them."""

from extra.commands.main import main
from extra.commands.options import OptionError, RunOptions
from extra.commands.running import run

__all__ = ["OptionError", "RunOptions", "main", "run"]
