"""`extra routes`: what an application of services serves."""

import sys

from extra.commands.loading import LoadError, find, host

__all__ = ["show"]


def show(target: str, *, factory: bool, directory: str) -> int:
    """Print a line for each route, and return the exit status."""
    try:
        services = host(find(target, factory=factory, directory=directory)).services
    except LoadError as error:
        sys.stderr.write(f"extra: {error}\n")
        return 1
    if services is None:
        sys.stderr.write(f"extra: {target} is no application made of services\n")
        return 1
    rows = list(services.routes())
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for method, pattern, name in rows:
        sys.stdout.write(f"{method:<{widths[0]}}  {pattern:<{widths[1]}}  {name}\n")
    return 0
