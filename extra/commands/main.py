"""The command line of `extra`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from extra.commands.options import OptionError, add_options, flag_of, header_of

__all__ = ["main"]

DESCRIPTION: Final = "Runs services, and ASGI and WSGI applications, on Extra's own server."

WORKERS_NOTE: Final = (
    "With --workers, each process has a memory and a broker of its own: a message that is published in one "
    "does not reach the subscribers of the others. Run one worker where services publish to each other, or "
    "let all speak to one extra-broker."
)

POSITIONAL: Final = ("method", "path")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 it could not be done, 2 called wrongly."""
    parser = argparse.ArgumentParser(prog="extra", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_run(commands)
    add_request(commands)
    add_routes(commands)
    arguments = parser.parse_args(argv)
    given = {name: value for name, value in vars(arguments).items() if name not in ("command", "app")}
    try:
        if arguments.command == "routes":
            from extra.commands.routes import show

            return show(arguments.app, factory=arguments.factory, directory=arguments.app_dir)
        if arguments.command == "request":
            from extra.commands.requesting import request

            return request(arguments.app, **given)
        from extra.commands.running import run

        return run(arguments.app, **given)
    except OptionError as error:
        name = error.name.upper() if error.name in POSITIONAL else flag_of(error.name)
        sys.stderr.write(f"extra {arguments.command}: {name}: {error.flaw}\n")
        return 2


def add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `extra run`. Where nothing is said about an option, it has the default of `RunOptions`."""
    parser = commands.add_parser(
        "run",
        help="serve an application",
        description="Serves services, and any ASGI 3, ASGI 2 or WSGI application.",
        epilog=WORKERS_NOTE,
        argument_default=argparse.SUPPRESS,
    )
    add_application(parser)
    add_options(parser)


def add_request(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `extra request`."""
    parser = commands.add_parser(
        "request",
        help="answer one request, without a server",
        description="Starts an application, answers one request, prints the body, and stops it. "
        "The exit status is 0 when the status of the answer is below 400, else 1.",
    )
    add_application(parser)
    parser.add_argument("method", metavar="METHOD", help="GET, POST and so on")
    parser.add_argument("path", metavar="PATH", help="what is asked for, with its query: /rooms?page=2")
    parser.add_argument(
        "--header", "-H", dest="headers", action="append", type=header_of, default=[], metavar="NAME:VALUE",
        help="a header field of the request; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--body", "-d", default="", metavar="TEXT", help="the body; @FILE is a file, @- standard input"
    )
    parser.add_argument("--include", "-i", action="store_true", help="print status and header fields as well")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds that it all may take (30)"
    )
    parser.set_defaults(factory=False, app_dir="")


def add_routes(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `extra routes`."""
    parser = commands.add_parser("routes", help="list what an application of services serves")
    add_application(parser)
    parser.set_defaults(factory=False, app_dir="")


def add_application(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:APP", help="where the application is; MODULE alone has `app`")
    parser.add_argument("--factory", action="store_true", help="call APP to get the application")
    parser.add_argument("--app-dir", metavar="DIR", help="where modules are looked for first (here)")
