"""The log of `extra run`: on standard error, or as a configuration of the user's says."""

import json
import logging
import logging.config
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from extra.commands.options import OptionError
from extra.http import Request

__all__ = ["configure_log", "log_access", "set_up_log"]

logger = logging.getLogger("extra.access")


def set_up_log(level: str, config: str | Mapping[str, Any] = "") -> None:
    """Send the log to standard error, unless whoever embeds this has set one up, or as `config` says.

    `config` is for `logging.config`: a dictionary, or a file. The loggers are `extra`, and below it
    `extra.access` for answers.

    Raises:
        OptionError: the configuration cannot be read, or is none.
    """
    if config:
        configure_log(config)
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("extra").setLevel(level.upper())


def configure_log(config: str | Mapping[str, Any]) -> None:
    """Configure logging with a dictionary, or a file. Raises OptionError."""
    try:
        if not isinstance(config, str):
            logging.config.dictConfig(dict(config))
            return
        path = Path(config)
        text = path.read_text()
        if path.suffix == ".json":
            logging.config.dictConfig(json.loads(text))
        elif path.suffix == ".toml":
            logging.config.dictConfig(tomllib.loads(text))
        elif path.suffix in (".yaml", ".yml"):
            logging.config.dictConfig(import_module("yaml").safe_load(text))
        else:
            logging.config.fileConfig(config, disable_existing_loggers=False)
    except ModuleNotFoundError as error:
        raise OptionError("log_config", f"{config!r} needs {error.name}, which is not installed") from None
    except OSError as error:
        raise OptionError("log_config", f"{config!r} cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001  # whatever the parser, or a handler that it names, finds wrong
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise OptionError("log_config", f"is no configuration of logging: {error}{cause}") from None


def log_access(request: Request, status: int, body_bytes: int, seconds: float) -> None:
    """Log one answer. The target is of ASCII, and nothing in it can end the line."""
    target = request.target.decode("ascii").encode("unicode_escape").decode()
    logger.info(
        '%s "%s %s" %d %d bytes %.1f ms',
        request.client,
        request.method,
        target,
        status,
        body_bytes,
        seconds * 1000,
    )
