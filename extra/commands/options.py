"""The options of `extra run`: what there is, what each may be, and how it is called where.

An option is one field of `RunOptions`, and all else is derived from there: `limit_concurrency` in
`extra.run(...)` is `--limit-concurrency` on the command line.
"""

import argparse
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from math import inf, isfinite
from typing import Any, Final, Literal, TypeVar

from extra.bridges.asgi_host import Lifespan
from extra.commands.loading import INTERFACES, Interface

__all__ = ["OptionError", "RunOptions", "add_options", "flag_of", "options_of"]

_T = TypeVar("_T")

FIELD_NAME: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class OptionError(ValueError):
    """An option has a value that it may not have. `name` is that of the field, `flaw` says what is wrong."""

    def __init__(self, name: str, flaw: str) -> None:
        super().__init__(f"{name}: {flaw}")
        self.name = name
        self.flaw = flaw


def _option(default: _T, help: str, **more: object) -> _T:
    """Return a field. A number lies from `low` to `high`, a text is one of `choices` if there are any."""
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an application is run. Raises OptionError for a value that is not allowed."""

    host: str = _option("127.0.0.1", "address or name to listen on")
    port: int = _option(8000, "port to listen on; 0 picks one and prints it", high=65_535)
    uds: str = _option("", "Unix socket to listen on, instead of host and port", metavar="PATH")
    fd: int = _option(-1, "descriptor of a socket to listen on, instead", low=-1)
    backlog: int = _option(2048, "connections that the kernel holds until they are accepted", low=1)
    interface: Interface = _option("auto", "what the application is; auto finds it out", choices=INTERFACES)  # noqa: RUF009  # it is a field
    factory: bool = _option(False, "call APP to get the application", shared=True)
    app_dir: str = _option("", "where modules are looked for first; here by default", shared=True)
    loop: Literal["auto", "uvloop", "asyncio"] = _option(
        "auto", "event loop; auto is uvloop", choices=("auto", "uvloop", "asyncio")
    )
    lifespan: Lifespan = _option("auto", "lifespan of ASGI applications", choices=("auto", "on", "off"))  # noqa: RUF009  # it is a field
    root_path: str = _option(
        "", "path below which the application is mounted, which requests come without", metavar="PATH"
    )
    env_file: str = _option("", "file of variables for the environment; needs python-dotenv", metavar="FILE")
    workers: int = _option(
        1,
        "processes that share the socket; each has a memory and a broker of its own: what one publishes, "
        "subscribers of the others do not get",
        low=1,
        high=1024,
    )
    reload: bool = _option(False, "swap the application when a file changes; needs watchfiles")
    reload_dirs: tuple[str, ...] = _option(
        (), "directory that is watched, instead of the application's; may be given again", flag="reload-dir"
    )
    reload_includes: tuple[str, ...] = _option(
        (),
        "names of files that are watched, besides *.py; may be given again",
        flag="reload-include",
        metavar="GLOB",
    )
    reload_excludes: tuple[str, ...] = _option(
        (),
        "names of files and directories that are not; may be given again",
        flag="reload-exclude",
        metavar="GLOB",
    )
    reload_delay: float = _option(0.25, "seconds without a change before it is swapped", metavar="S", high=60)
    log_config: str | Mapping[str, Any] = _option(
        "", "configuration of logging: .json, .toml, .yaml, or else as for fileConfig", metavar="FILE"
    )
    log_level: str = _option(
        "info", "what is logged", choices=("debug", "info", "warning", "error", "critical")
    )
    access_log: bool = _option(True, "log each answer")
    proxy_headers: bool = _option(True, "believe X-Forwarded-For and -Proto of trusted proxies")
    forwarded_allow_ips: str = _option(
        "",
        "those proxies: addresses and networks, with commas, or *; $FORWARDED_ALLOW_IPS or 127.0.0.1,::1 "
        "by default",
        metavar="LIST",
    )
    server_header: bool = _option(True, "say `Server: extra` in responses")
    date_header: bool = _option(True, "say the date in responses")
    headers: tuple[tuple[str, str], ...] = _option(
        (),
        "a header field that every response has; may be given again",
        flag="header",
        metavar="NAME:VALUE",
    )
    limit_concurrency: int = _option(100_000, "most open connections; others are answered 503", low=1)
    limit_max_requests: int = _option(0, "end after so many requests; 0 is never")
    timeout_keep_alive: float = _option(75.0, "seconds between two requests", metavar="S")
    timeout_graceful_shutdown: float = _option(10.0, "seconds that shutting down may take", metavar="S")
    ws_max_size: int = _option(
        0, "largest message of a WebSocket; 0 is as services say, 16 MiB for others", metavar="BYTES"
    )
    ws_ping_interval: float = _option(20.0, "seconds of silence before a ping; 0 is never", metavar="S")
    ws_ping_timeout: float = _option(20.0, "seconds that the answer may take", metavar="S")
    ssl_certfile: str = _option(
        "", "certificate, in PEM, with those it depends on: serves HTTPS", metavar="FILE"
    )
    ssl_keyfile: str = _option("", "its key, where that is another file", metavar="FILE")
    ssl_keyfile_password: str = _option("", "what the key is encrypted with", metavar="TEXT")
    ssl_version: str = _option("1.2", "lowest version of TLS", choices=("1.2", "1.3"))
    ssl_cert_reqs: str = _option(
        "none", "whether clients show certificates", choices=("none", "optional", "required")
    )
    ssl_ca_certs: str = _option("", "certificates of those who sign them", metavar="FILE")
    ssl_ciphers: str = _option("", "ciphers of TLS 1.2, as OpenSSL writes them", metavar="LIST")

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name))
        for given in self.headers:
            if type(given) is not tuple or [type(each) for each in given] != [str, str]:
                raise OptionError("headers", f"{given!r} is no pair of a name and a value")
            name, value = given
            if not name or not set(name) <= FIELD_NAME or any(character in value for character in "\r\n\0"):
                raise OptionError("headers", f"{name!r} with {value!r} is no header field")
        if self.workers > 1 and self.reload:
            raise OptionError("workers", "is not for reload: that swaps the application in one process")


def options_of(given: Mapping[str, Any]) -> RunOptions:
    """Return the options from what was given by name; lists will do for tuples.

    Raises:
        TypeError: there is no option of a name.
        OptionError: one has a value that is not allowed.
    """
    known = {each.name for each in fields(RunOptions)}
    for name in given:
        if name not in known:
            raise TypeError(f"run() has no option {name!r}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    if isinstance(values.get("headers"), tuple):
        values["headers"] = tuple(
            tuple(each) if isinstance(each, list) else each for each in values["headers"]
        )
    return RunOptions(**values)


def flag_of(name: str) -> str:
    """Return how the option `name` is called on the command line."""
    flags: dict[str, str] = {
        each.name: each.metadata["flag"] for each in fields(RunOptions) if "flag" in each.metadata
    }
    return "--" + flags.get(name, name.replace("_", "-"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option, except those that other commands share. What is not said is left out."""
    for each in fields(RunOptions):
        if each.metadata.get("shared"):
            continue
        flag, help = flag_of(each.name), each.metadata["help"]
        default = each.default
        metavar = each.metadata.get("metavar")
        if default is False:
            parser.add_argument(flag, dest=each.name, action="store_true", help=help)
        elif default is True:
            parser.add_argument(
                flag, dest=each.name, action=argparse.BooleanOptionalAction, help=f"{help} (yes)"
            )
        elif isinstance(default, tuple):
            kind = header_of if each.name == "headers" else str
            parser.add_argument(
                flag, dest=each.name, action="append", type=kind, metavar=metavar or "DIR", help=help
            )
        else:
            shown = f"{default:g}" if isinstance(default, float) else default
            parser.add_argument(
                flag,
                dest=each.name,
                type=type(default),
                choices=each.metadata.get("choices"),
                metavar=metavar or _metavar(each),
                help=f"{help} ({shown})" if default not in ("", -1) else help,
            )


def header_of(text: str) -> tuple[str, str]:
    """Return name and value of a header field."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME:VALUE")
    return name.strip(), value.strip()


def _metavar(each: "Field[Any]") -> str | None:
    if "choices" in each.metadata:
        return None  # they are shown instead
    return "N" if isinstance(each.default, int) else each.name.rpartition("_")[2].upper()


def _check(each: "Field[Any]", value: object) -> None:
    """Raise OptionError unless `value` may be the value of the option."""
    default = each.default
    if isinstance(default, bool) or not isinstance(default, int | float):
        kinds = (str, Mapping) if each.name == "log_config" else (type(default),)
        if not isinstance(value, kinds):
            raise OptionError(each.name, f"{value!r} is not allowed: {NOUNS[type(default)]}")
    else:
        low, high = each.metadata.get("low", 0), each.metadata.get("high", inf)
        kind = int if isinstance(default, int) else (int, float)
        bad = isinstance(value, bool) or not isinstance(value, kind)
        if bad or not (isfinite(value) and low <= value <= high):  # type: ignore[arg-type]  # a number
            bounds = f"{low} or more" if high == inf else f"{low} to {high}"
            raise OptionError(each.name, f"{value!r} is not allowed: {NOUNS[type(default)]}, {bounds}")
    choices = each.metadata.get("choices")
    if choices and value not in choices:
        raise OptionError(each.name, f"{value!r} is not allowed: one of {', '.join(choices)}")


NOUNS: Final = {
    bool: "True or False",
    str: "a text",
    tuple: "a list",
    int: "a whole number",
    float: "a number",
}
