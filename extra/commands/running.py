"""Running one application on our server, from start to the end that a signal asks for.

Shutdown, on SIGINT or SIGTERM: stop accepting, end the streams, let what is under way finish for a while, cut
what is left, stop the application. A second signal cuts at once. One that comes before the application is
served ends its start.
"""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

from extra.bridges.asgi_host import Spawn
from extra.commands.environment import read_environment
from extra.commands.generations import Generations
from extra.commands.loading import Loaded, LoadError, find, host
from extra.commands.logs import log_access, set_up_log
from extra.commands.options import OptionError, RunOptions, flag_of, options_of
from extra.commands.tls import tls_context
from extra.commands.watching import Watched, reload_on_change
from extra.compilation import COMPILED
from extra.http import Begin
from extra.servers import Address, Arrivals, Server, ServerLimits, TrustedProxies, run_in_place

__all__ = ["Began", "load", "loop_factory", "run", "serve", "url_of"]

logger = logging.getLogger("extra.commands")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

FOREIGN_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""What a message of a WebSocket may be for applications of others, which have no say in it."""

LIMIT_NAMES: Final = {
    "connections_limit": flag_of("limit_concurrency"),
    "idle_timeout_s": flag_of("timeout_keep_alive"),
    "frame_limit_bytes": flag_of("ws_max_size"),
    "ping_interval_s": flag_of("ws_ping_interval"),
    "ping_timeout_s": flag_of("ws_ping_timeout"),
}

Began: TypeAlias = Callable[[Callable[[], None]], None]
"""Called once the application is served, with what makes it stop, and cuts when it is called again."""


def run(target: str | object, **options: Any) -> int:
    """Run an application, or the one that `"module:app"` names, until SIGINT or SIGTERM ends it.

    `options` are the fields of `RunOptions`. Returns the exit status: 0, or 1 when it could not be run.

    Raises:
        TypeError: there is no such option.
        OptionError: an option has a value that is not allowed.
    """
    chosen = options_of(options)
    for name, is_wanted in (("workers", chosen.workers > 1), ("reload", chosen.reload)):
        if is_wanted and not isinstance(target, str):
            raise OptionError(name, "needs an application that is named, as 'module:app'")
    if chosen.reload:
        watched_by(chosen)
        if find_spec("watchfiles") is None:
            raise OptionError("reload", "needs watchfiles: install extra-broker[reload]")
    read_environment(chosen.env_file)
    set_up_log(chosen.log_level, chosen.log_config)
    if chosen.workers > 1:
        from extra.commands.workers import supervise

        return supervise(str(target), chosen)
    with asyncio.Runner(loop_factory=loop_factory(chosen.loop)) as runner:
        return runner.run(serve(target, chosen))


async def serve(
    target: str | object,
    options: RunOptions,
    *,
    sockets: Sequence[socket.socket] = (),
    signals: Sequence[signal.Signals] = SIGNALS,
    began: Began | None = None,
) -> int:
    """Run it in this event loop; see `run`.

    With `sockets`, which listen already, it listens nowhere else. `began` is called instead of announcing it.
    """
    stopping, cutting = asyncio.Event(), asyncio.Event()
    starting = asyncio.current_task()  # None from when it serves

    def stop() -> None:
        if starting is not None and not stopping.is_set():
            starting.cancel()  # what the application's start waits for may never come
        (cutting if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    proxies = proxies_of(options)
    tls = tls_context(options)
    importing = partial(load, target, options, partial(run_in_place, loop=loop))
    try:
        loaded = importing()
    except LoadError as error:
        logger.error("%s", error)
        return 1
    generations: Generations | None = None
    if options.reload:
        generations = Generations(loaded)
        loaded = generations.loaded
    begin = arriving(loaded.begin, proxies, options, tls is not None, stopping.set)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        async with (
            loaded.life,
            Server(
                begin,
                limits=limits_of(options, loaded),
                server_name="extra" if options.server_header else "",
                dated=options.date_header,
                headers=options.headers,
                access_log=log_access if options.access_log else None,
            ) as server,
        ):
            try:
                address = await listen(server, options, sockets, tls)
            except OSError as error:
                logger.error("cannot listen on %s: %s", place_of(options), error.strerror or error)
                return 1
            if began is not None:
                began(stop)
            else:
                announce(loaded.interface, address, options)
            starting = None
            if generations is not None:
                await until_set(stopping, reload_on_change(generations, importing, watched_by(options)))
            await stopping.wait()
            logger.info("shutting down")
            server.stop_accepting()
            loaded.drain()
            await drained(server, cutting, options.timeout_graceful_shutdown)
    except asyncio.CancelledError:
        if starting is None or not stopping.is_set():
            raise
        starting.uncancel()
    except Exception:
        logger.exception("the application has failed")
        return 1
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    logger.info("stopped")
    return 0


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


def watched_by(options: RunOptions) -> Watched:
    """Return which files are watched. Raises OptionError for a directory that is none."""
    directories = tuple(Path(each).resolve() for each in options.reload_dirs or (options.app_dir or ".",))
    for each in directories:
        if not each.is_dir():
            raise OptionError("reload_dirs", f"{str(each)!r} is no directory")
    return Watched(directories, options.reload_includes, options.reload_excludes, options.reload_delay)


async def until_set(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do some work that has no end by itself, until the event is set. Raises what the work raises."""
    waiting, working = asyncio.create_task(event.wait()), asyncio.create_task(work)
    try:
        await asyncio.wait([waiting, working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.wait([waiting, working])
    if not working.cancelled():
        working.result()


def proxies_of(options: RunOptions) -> TrustedProxies | None:
    """Return who is believed, None for nobody. Raises OptionError."""
    if not options.proxy_headers:
        return None
    trusted = options.forwarded_allow_ips or os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
    try:
        return TrustedProxies(trusted)
    except ValueError as error:
        raise OptionError("forwarded_allow_ips", str(error)) from None


def limits_of(options: RunOptions, loaded: Loaded) -> ServerLimits:
    """Return what connections may cost."""
    usual_bytes = 0 if loaded.interface == "services" else FOREIGN_MESSAGE_BYTES
    return ServerLimits(
        connections_limit=options.limit_concurrency,
        idle_timeout_s=options.timeout_keep_alive,
        frame_limit_bytes=options.ws_max_size or usual_bytes,
        ping_interval_s=options.ws_ping_interval,
        ping_timeout_s=options.ws_ping_timeout,
        names=LIMIT_NAMES,
    )


def arriving(
    begin: Begin,
    proxies: TrustedProxies | None,
    options: RunOptions,
    secure: bool,
    stop: Callable[[], None],
) -> Arrivals:
    """Return what is served: requests that say where they come from, and `stop` after so many."""

    def passed() -> None:
        logger.info("%d requests have been served (%s)", options.limit_max_requests, LAST_REQUEST)
        stop()

    return Arrivals(
        begin,
        proxies,
        secure=secure,
        root_path=options.root_path,
        limit=options.limit_max_requests,
        passed=passed,
    )


LAST_REQUEST: Final = flag_of("limit_max_requests")


async def listen(
    server: Server, options: RunOptions, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> Address:
    """Listen where the options say, or on sockets that are there."""
    backlog = options.backlog
    if sockets:
        places = [await server.listen(sock=each, backlog=backlog, tls=tls) for each in sockets]
        return places[0][0]
    if options.fd >= 0:
        bound = socket.socket(fileno=os.dup(options.fd))
        return (await server.listen(sock=bound, backlog=backlog, tls=tls))[0]
    if options.uds:
        return (await server.listen(uds=options.uds, backlog=backlog, tls=tls))[0]
    return (await server.listen(options.host, options.port, backlog=backlog, tls=tls))[0]


async def drained(server: Server, cutting: asyncio.Event, window_s: float) -> None:
    """Wait until every connection has ended, until the window is over, or until told to cut."""
    waiting = [asyncio.ensure_future(server.drained()), asyncio.ensure_future(cutting.wait())]
    await asyncio.wait(waiting, timeout=window_s, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


def announce(interface: str, address: Address, options: RunOptions) -> None:
    """Say where it listens; a port that was picked, on standard output as well."""
    url = (
        f"unix:{address}" if isinstance(address, str) else url_of(*address, secure=bool(options.ssl_certfile))
    )
    mode = "compiled" if COMPILED else "interpreted"
    logger.info("extra (%s) serves %s on %s (Ctrl-C ends it)", mode, interface, url)
    if options.port == 0 and not options.uds and options.fd < 0:
        with suppress(BrokenPipeError):
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()


def place_of(options: RunOptions) -> str:
    """Return where the options say to listen, in words."""
    if options.fd >= 0:
        return f"descriptor {options.fd}"
    return options.uds or f"{options.host} port {options.port}"


def url_of(host: str, port: int, *, secure: bool = False) -> str:
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def loop_factory(name: str) -> Any:
    """Return what makes the event loop: uvloop's by preference."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
