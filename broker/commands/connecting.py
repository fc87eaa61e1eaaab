"""What the client commands share: where the broker is, and the client that talks to it."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from broker.commands.options import Option, UsageError

if TYPE_CHECKING:
    from extra.client import Client

__all__ = ["URL_OPTION", "make_client"]

URL_VARIABLE: Final = "EXTRA_BROKER_URL"
DEFAULT_URL: Final = "http://127.0.0.1:8080"

URL_OPTION: Final = Option("--url", "URL", f"where the broker is, also {URL_VARIABLE}", DEFAULT_URL)


def make_client(options: Mapping[str, str]) -> "Client":
    """Return a client for the broker that the option, or else the variable, or else the default names.

    From here on warnings, such as that of a connection that is lost, go to standard error, a line each.

    Raises:
        UsageError: the URL is none of a broker.
    """
    from extra.client import Client  # only now: a mistyped command line shall not wait for it

    logging.basicConfig(format="extra-broker: %(message)s")
    try:
        return Client(options.get(URL_OPTION.flag) or os.environ.get(URL_VARIABLE) or DEFAULT_URL)
    except ValueError as error:
        raise UsageError(f"{URL_OPTION.flag}: {error}") from None
