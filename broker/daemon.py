"""The daemon: builds a broker from its settings, serves it, and brings it to an end that loses nothing.

Shutdown, on SIGINT or SIGTERM: stop accepting, tell every client on every face where to resume and when, let
what is under way finish until the drain window is over, cut what is left, close the engine. A second signal
cuts at once.
"""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import fields, replace
from typing import Any, Final

import uvloop

from broker import __version__
from broker.endpoints import Hub, build_application
from broker.engines import SQLiteEngine
from broker.policies import policy_table
from broker.reloading import Reloading
from broker.settings import SETTINGS, Settings, check_exposure
from broker.swapping import check_reloading, swapped
from extra import COMPILED
from extra.commands.loading import Loaded, LoadError, find, host
from extra.errors import EngineError
from extra.http import Request
from extra.pubsub import Broker, BrokerLimits, Engine, MemoryEngine
from extra.servers import Address, Counters, Server, ServerLimits

__all__ = ["build_broker", "fit_connections", "run", "serve", "server_limits"]

logger = logging.getLogger("broker")

LIMIT_NAMES: Final = {
    "body_limit_bytes": "broker.max_payload_bytes",
    "frame_limit_bytes": "websocket.frame_limit_bytes",
    **{
        limit.name: f"{section}.{limit.name}"
        for section in ("server", "websocket")
        for limit in fields(ServerLimits)
        if f"{section}.{limit.name}" in {setting.key for setting in SETTINGS}
    },
}
"""What the limits of a server are called as settings."""

HEADERS: Final = (("X-Content-Type-Options", "nosniff"),)
"""What is in every response: payloads are of the type that their publisher says, and no page of ours."""

OTHER_FILES: Final = 20
"""Open files that are no connections: sockets that listen, the event loop's own, standard streams, /proc."""

TICK_S: Final = 1.0
COLLECTION_THRESHOLDS: Final = (50_000, 20, 100)
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
    """Serve until a signal ends it. Returns the exit status: 0, or 1 when it could not begin.

    `read` reads the settings anew: on SIGHUP, policies are taken over from them. Without it that is a signal
    like others.
    """
    _spare_collections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings, read))


async def run(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
    """Serve in this event loop until SIGINT or SIGTERM; the same as `serve` otherwise."""
    given = settings
    stopping, cutting = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (cutting if stopping.is_set() else stopping).set()

    settings, wanted = fit_connections(settings, _raise_descriptor_limit()), settings.server.connections_limit
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        services = _load(settings)
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(build_broker(settings))
            if read is not None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                loop.add_signal_handler(signal.SIGHUP, Reloading(broker, given, read).reload)
            watching: Coroutine[Any, Any, None] | None = None
            if services is not None and settings.server.reload:
                services, watching = swapped(services, broker, settings)
            elif services is not None and services.services is not None:
                services.services.attach(broker)
            if services is not None:
                await stack.enter_async_context(services.life)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            hub = Hub(broker, settings, tasks)
            hub.keeps_requests = services is not None
            status = await _serve(hub, services, watching, wanted, stopping, cutting)
    except LoadError as error:
        logger.error("%s (server.app)", error)
        return 1
    except EngineError as error:  # of starting: what a task raises comes in a group
        logger.error("%s", error)
        return 1
    if status == 0:
        for number in SIGNALS:  # what comes from here on is late: the process is about to end by itself
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        logger.info("stopped")
    return status


async def _serve(
    hub: Hub,
    services: Loaded | None,
    watching: Coroutine[Any, Any, None] | None,
    wanted: int,
    stopping: asyncio.Event,
    cutting: asyncio.Event,
) -> int:
    """Serve until `stopping` is set, and until all is drained after that or `cutting` is set.

    `wanted` is how many connections the settings had asked for, and `watching` looks for changes meanwhile.
    """
    settings = hub.settings
    counters = Counters()
    async with Server(
        build_application(hub, counters, services.handler if services is not None else None),
        error_response=hub.tally.answer,
        limits=server_limits(settings),
        counters=counters,
        server_name=f"extra-broker/{__version__}",
        access_log=_log_access if settings.log.access else None,
        headers=HEADERS,
    ) as server:
        try:
            address = await _listen(server, settings)
        except OSError as error:
            _complain(settings, error)
            if watching is not None:
                watching.close()
            return 1
        _announce(settings, address, wanted)
        background = [hub.tasks.create_task(_tick(hub))]
        if watching is not None:
            background.append(hub.tasks.create_task(watching))
        await stopping.wait()
        logger.info("shutting down: clients are told where to resume (server.drain_window_s)")
        server.stop_accepting()
        hub.drain()
        if services is not None:
            services.drain()
        for task in background:
            task.cancel()
        await _drained(server, cutting, settings.server.drain_window_s)
    return 0


def _load(settings: Settings) -> Loaded | None:
    """Return the application to serve besides, if there is one. Raises LoadError."""
    check_reloading(settings)
    if not settings.server.app:
        return None
    return host(find(settings.server.app))


def build_broker(settings: Settings) -> Broker:
    """Return a broker with the limits and policies of the settings, on the engine that they ask for."""
    keep = settings.retention
    policies = policy_table(settings)
    bear = settings.broker
    engine: Engine
    if settings.store.path:
        engine = SQLiteEngine(
            settings.store.path,
            policies,
            durability=settings.store.durability,
            total_limit_bytes=keep.total_limit_bytes,
            topics_limit=keep.topics_limit,
            retained_limit_messages=bear.retained_limit_messages,
            retained_limit_bytes=bear.retained_limit_bytes,
            queue_limit_messages=settings.store.queue_limit_messages,
            queue_limit_bytes=settings.store.queue_limit_bytes,
            idempotency_limit_keys=bear.idempotency_limit_keys,
            idempotency_window_s=bear.idempotency_window_s,
        )
    else:
        engine = MemoryEngine(
            policies,
            total_limit_bytes=keep.total_limit_bytes,
            topics_limit=keep.topics_limit,
            retained_limit_messages=bear.retained_limit_messages,
            retained_limit_bytes=bear.retained_limit_bytes,
        )
    limits = BrokerLimits(
        max_payload_bytes=bear.max_payload_bytes,
        max_topic_bytes=bear.max_topic_bytes,
        max_topic_levels=bear.max_topic_levels,
        outbox_limit_bytes=bear.outbox_limit_bytes,
        subscriptions_limit=bear.subscriptions_limit,
        subscriptions_limit_bytes=bear.subscriptions_limit_bytes,
        match_cache_topics=bear.match_cache_topics,
        idempotency_limit_keys=bear.idempotency_limit_keys,
        idempotency_window_s=bear.idempotency_window_s,
        scheduled_limit_messages=bear.scheduled_limit_messages,
        scheduled_limit_bytes=bear.scheduled_limit_bytes,
        presence_limit_members=bear.presence_limit_members,
        presence_told_members=bear.presence_told_members,
        presence_data_limit_bytes=bear.presence_data_limit_bytes,
        presence_grace_s=bear.presence_grace_s,
        named_sessions_limit=bear.named_sessions_limit,
        session_expiry_s=bear.session_expiry_s,
        groups_limit=bear.groups_limit,
        group_members_limit=bear.group_members_limit,
        group_window_limit_messages=bear.group_window_limit_messages,
        group_window_limit_bytes=bear.group_window_limit_bytes,
        group_expiry_s=bear.group_expiry_s,
    )
    return Broker(engine, limits=limits)


def server_limits(settings: Settings) -> ServerLimits:
    """Return what connections may cost, from the settings."""
    server, websocket = settings.server, settings.websocket
    return ServerLimits(
        connections_limit=server.connections_limit,
        head_limit_bytes=server.head_limit_bytes,
        headers_limit=server.headers_limit,
        body_limit_bytes=settings.broker.max_payload_bytes,
        receive_limit_bytes=server.receive_limit_bytes,
        pipeline_limit=server.pipeline_limit,
        write_high_water_bytes=server.write_high_water_bytes,
        head_timeout_s=server.head_timeout_s,
        body_timeout_s=server.body_timeout_s,
        idle_timeout_s=server.idle_timeout_s,
        write_timeout_s=server.write_timeout_s,
        ping_interval_s=websocket.ping_interval_s,
        ping_timeout_s=websocket.ping_timeout_s,
        close_timeout_s=websocket.close_timeout_s,
        names=LIMIT_NAMES,
    )


def _spare_collections() -> None:
    """Keep the garbage collector from going through what is alive again and again.

    What is loaded by now stays, and is not looked at any more. What comes is messages, hardly any of it
    garbage in cycles: with a million topics a full collection stops everything for a second to find nothing.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)


def fit_connections(settings: Settings, descriptors: int) -> Settings:
    """Return the settings with as many connections as there can be with so many open files.

    Those beyond would be accepted and closed without a word: so they are refused with 503, and counted.
    """
    most = max(descriptors - OTHER_FILES, 1)
    if settings.server.connections_limit <= most:
        return settings
    return replace(settings, server=replace(settings.server, connections_limit=most))


def _raise_descriptor_limit() -> int:
    """Let this process open as many files as it may, and return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


async def _listen(server: Server, settings: Settings) -> Address:
    where = settings.server
    if where.uds:
        return (await server.listen(uds=where.uds, backlog=where.backlog))[0]
    return (await server.listen(where.host, where.port, backlog=where.backlog))[0]


def _complain(settings: Settings, error: OSError) -> None:
    """Say where it cannot listen, and why."""
    server = settings.server
    reason = (error.strerror or str(error)).lower()
    if server.uds:
        logger.error("cannot listen on %s: %s (server.uds)", server.uds, reason)
    else:
        logger.error(
            "cannot listen on %s port %d: %s (server.host, server.port)", server.host, server.port, reason
        )


def _announce(settings: Settings, address: Address, wanted_connections: int) -> None:
    """Say where it listens and what is open to whom; a port that was picked, on standard output as well."""
    server = settings.server
    url = f"unix:{address}" if isinstance(address, str) else _url(*address)
    mode = "compiled" if COMPILED else "interpreted"
    logger.info("extra-broker %s (%s) listens on %s", __version__, mode, url)
    for line in check_exposure(settings):
        logger.info("%s", line)
    if server.connections_limit < wanted_connections:
        logger.info(
            "connections: at most %d, as the system allows no more open files, and not %d"
            " (server.connections_limit)",
            server.connections_limit,
            wanted_connections,
        )
    if server.port == 0 and not server.uds:
        with suppress(BrokenPipeError):
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _tick(hub: Hub) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        hub.tick()


async def _drained(server: Server, cutting: asyncio.Event, window_s: float) -> None:
    """Wait until every connection has ended, until the drain window is over, or until told to cut."""
    drained = asyncio.ensure_future(server.drained())
    cut = asyncio.ensure_future(cutting.wait())
    await asyncio.wait([drained, cut], timeout=window_s, return_when=asyncio.FIRST_COMPLETED)
    if left := len(server.context.connections):
        logger.info("%d connections that have not ended are cut (server.drain_window_s)", left)
    for each in (drained, cut):
        each.cancel()
    await asyncio.wait([drained, cut])


def _log_access(request: Request, status: int, body_bytes: int, seconds: float) -> None:
    logger.info(
        "%s %s %d",
        request.method,
        request.target.decode("ascii"),
        status,
        extra={"client": request.client, "bytes": body_bytes, "ms": round(seconds * 1000, 1)},
    )
