"""Running one application on our server, from start to the end that a signal asks for.

Shutdown, on SIGINT or SIGTERM: stop accepting, end the streams, let what is under way finish for a while, cut
what is left, stop the application. A second signal cuts at once.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, Literal

from extra.bridges.asgi_host import Lifespan, Spawn
from extra.commands.loading import Interface, Loaded, LoadError, find, host
from extra.compilation import COMPILED
from extra.http import Application, Handler, Request, Response
from extra.servers import Address, Server, ServerLimits, run_eagerly

__all__ = ["RunOptions", "run"]

logger = logging.getLogger("extra.commands")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an application is run. The names are those of the options of `extra run`."""

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str = ""
    fd: int = -1
    interface: Interface = "auto"
    factory: bool = False
    app_dir: str = ""
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    lifespan: Lifespan = "auto"
    root_path: str = ""
    access_log: bool = True
    log_level: str = "info"
    headers: tuple[tuple[str, str], ...] = ()
    server_header: bool = True
    backlog: int = 2048
    limit_concurrency: int = 100_000
    timeout_keep_alive: float = 75.0
    timeout_graceful_shutdown: float = 10.0
    ws_max_size: int = 16 * 1024 * 1024
    ws_ping_interval: float = 20.0
    ws_ping_timeout: float = 20.0


def run(target: str | object, **options: Any) -> int:
    """Run an application, or the one that `"module:app"` names, until SIGINT or SIGTERM ends it.

    `options` are the fields of `RunOptions`. Returns the exit status: 0, or 1 when it could not be run.

    Raises:
        TypeError: there is no such option.
    """
    known = {each.name for each in fields(RunOptions)}
    for name in options:
        if name not in known:
            raise TypeError(f"run() has no option {name!r}")
    chosen = RunOptions(**options)
    set_up_log(chosen.log_level)
    with asyncio.Runner(loop_factory=loop_factory(chosen.loop)) as runner:
        return runner.run(serve(target, chosen))


async def serve(target: str | object, options: RunOptions) -> int:
    """Run it in this event loop; see `run`."""
    stopping, cutting = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (cutting if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    try:
        loaded = load(target, options, partial(run_eagerly, loop=loop))
    except LoadError as error:
        logger.error("%s", error)
        return 1
    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        async with loaded.life:
            return await _serve(loaded, options, stopping, cutting)
    except Exception:
        logger.exception("the application has failed")
        return 1
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def load(target: str | object, options: RunOptions, spawn: Spawn) -> Loaded:
    """Find the application, and host it; `spawn` is what runs calls of one that is not ours."""
    application: object = target
    if isinstance(target, str):
        application = find(target, factory=options.factory, directory=options.app_dir)
    return host(
        application,
        interface=options.interface,
        lifespan=options.lifespan,
        root_path=options.root_path,
        address=(options.uds, None) if options.uds else (options.host, options.port),
        spawn=spawn,
        stop_timeout_s=options.timeout_graceful_shutdown,
    )


async def _serve(loaded: Loaded, options: RunOptions, stopping: asyncio.Event, cutting: asyncio.Event) -> int:
    limits = ServerLimits(
        connections_limit=options.limit_concurrency,
        idle_timeout_s=options.timeout_keep_alive,
        ping_interval_s=options.ws_ping_interval,
        ping_timeout_s=options.ws_ping_timeout,
    )
    async with Server(
        adding_headers(loaded.handler, options.headers),
        limits=limits,
        access_log=log_access if options.access_log else None,
    ) as server:
        try:
            address = await listen(server, options)
        except OSError as error:
            where = options.uds or f"{options.host} port {options.port}"
            logger.error("cannot listen on %s: %s", where, error.strerror or error)
            return 1
        announce(loaded, address, options)
        await stopping.wait()
        logger.info("shutting down")
        server.stop_accepting()
        loaded.drain()
        await drained(server, cutting, options.timeout_graceful_shutdown)
    logger.info("stopped")
    return 0


async def listen(server: Server, options: RunOptions) -> Address:
    """Listen where the options say."""
    if options.fd >= 0:
        bound = socket.socket(fileno=os.dup(options.fd))
        return (await server.listen(sock=bound, backlog=options.backlog))[0]
    if options.uds:
        return (await server.listen(uds=options.uds, backlog=options.backlog))[0]
    return (await server.listen(options.host, options.port, backlog=options.backlog))[0]


async def drained(server: Server, cutting: asyncio.Event, window_s: float) -> None:
    """Wait until every connection has ended, until the window is over, or until told to cut."""
    waiting = [asyncio.ensure_future(server.drained()), asyncio.ensure_future(cutting.wait())]
    await asyncio.wait(waiting, timeout=window_s, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


def announce(loaded: Loaded, address: Address, options: RunOptions) -> None:
    """Say where it listens; a port that was picked, on standard output as well."""
    url = f"unix:{address}" if isinstance(address, str) else url_of(*address)
    mode = "compiled" if COMPILED else "interpreted"
    logger.info("extra (%s) serves %s on %s (Ctrl-C ends it)", mode, loaded.interface, url)
    if options.port == 0 and not options.uds and options.fd < 0:
        with suppress(BrokenPipeError):
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()


def adding_headers(handler: Handler, headers: tuple[tuple[str, str], ...]) -> Handler:
    """Return a handler whose responses have `headers` as well."""
    if not headers:
        return handler

    async def add(request: Request, following: Handler) -> Response:
        response = await following(request)
        response.headers = [*response.headers, *headers]
        return response

    return Application(handler, middleware=[add])


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def loop_factory(name: str) -> Any:
    """Return what makes the event loop: uvloop's by preference."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def set_up_log(level: str) -> None:
    """Send the log to standard error, unless whoever embeds this has set one up."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("extra").setLevel(level.upper())


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
