"""The command line of `extra`."""

import argparse
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

DESCRIPTION: Final = "Runs services, and ASGI and WSGI applications, on Extra's own server."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 it could not be done, 2 called wrongly."""
    parser = argparse.ArgumentParser(prog="extra", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_run(commands)
    add_routes(commands)
    arguments = parser.parse_args(argv)
    if arguments.command == "routes":
        from extra.commands.routes import show

        return show(arguments.app, factory=arguments.factory, directory=arguments.app_dir)
    from extra.commands.running import run

    options = {name: value for name, value in vars(arguments).items() if name not in ("command", "app")}
    options["headers"] = tuple(options.pop("header"))
    return run(arguments.app, **options)


def add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `extra run`. Where nothing is said about an option, it has the default of `RunOptions`."""
    parser = commands.add_parser(
        "run",
        help="serve an application",
        description="Serves services, and any ASGI 3, ASGI 2 or WSGI application.",
        argument_default=argparse.SUPPRESS,
    )
    add_application(parser)
    parser.add_argument("--host", help="address or name to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 picks one and prints it (8000)")
    parser.add_argument("--uds", metavar="PATH", help="Unix socket to listen on, instead of host and port")
    parser.add_argument("--fd", type=int, metavar="N", help="descriptor of a socket to listen on, instead")
    parser.add_argument(
        "--interface",
        choices=("auto", "services", "asgi3", "asgi2", "wsgi"),
        help="what the application is (auto: found out)",
    )
    parser.add_argument("--loop", choices=("auto", "uvloop", "asyncio"), help="event loop (auto: uvloop)")
    parser.add_argument("--lifespan", choices=("auto", "on", "off"), help="lifespan of ASGI (auto)")
    parser.add_argument("--root-path", metavar="PATH", help="path below which ASGI applications are mounted")
    parser.add_argument(
        "--access-log", action=argparse.BooleanOptionalAction, help="log each answer (the default)"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="what is logged (info)"
    )
    parser.add_argument(
        "--header",
        action="append",
        type=header_of,
        default=[],
        metavar="NAME:VALUE",
        help="a header field that every response has; may be given again",
    )
    parser.add_argument("--backlog", type=int, metavar="N", help="connections that the kernel holds (2048)")
    parser.add_argument(
        "--limit-concurrency", type=int, metavar="N", help="most open connections; others get 503 (100000)"
    )
    parser.add_argument(
        "--timeout-keep-alive", type=float, metavar="S", help="seconds between two requests (75)"
    )
    parser.add_argument(
        "--timeout-graceful-shutdown",
        type=float,
        metavar="S",
        help="seconds that shutting down may take (10)",
    )
    parser.add_argument("--ws-ping-interval", type=float, metavar="S", help="silence before a ping (20)")
    parser.add_argument("--ws-ping-timeout", type=float, metavar="S", help="wait for the answer (20)")


def add_routes(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `extra routes`."""
    parser = commands.add_parser("routes", help="list what an application of services serves")
    add_application(parser)
    parser.set_defaults(factory=False, app_dir="")


def add_application(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:APP", help="where the application is; MODULE alone has `app`")
    parser.add_argument("--factory", action="store_true", help="call APP to get the application")
    parser.add_argument("--app-dir", metavar="DIR", help="where modules are looked for first (here)")


def header_of(text: str) -> tuple[str, str]:
    """Return name and value of a header field."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or any(character in text for character in "\r\n\0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME:VALUE")
    return name.strip(), value.strip()
