"""Variables for the environment, from a file, with python-dotenv."""

from pathlib import Path

from extra.commands.options import OptionError

__all__ = ["read_environment"]


def read_environment(path: str) -> None:
    """Set the variables that the file at `path` names, except those that are set; empty is no file.

    Raises:
        OptionError: the file is not there, or python-dotenv is not.
    """
    if not path:
        return
    try:
        from dotenv import load_dotenv
    except ModuleNotFoundError:
        raise OptionError("env_file", "needs python-dotenv: install extra-broker[env]") from None
    if not Path(path).is_file():
        raise OptionError("env_file", f"there is no file {path!r}")
    try:
        load_dotenv(path)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError("env_file", f"{path!r} cannot be read: {error}") from None
