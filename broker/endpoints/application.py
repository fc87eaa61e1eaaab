"""The routes: which request goes to which endpoint. docs/protocol.md has the table."""

from typing import Final

from broker.endpoints.console import Console
from broker.endpoints.groups import Sharing
from broker.endpoints.guard import Guard
from broker.endpoints.hub import Hub
from broker.endpoints.named import Positions
from broker.endpoints.operations import Operations
from broker.endpoints.presence import Attendance
from broker.endpoints.publishing import Publisher
from broker.endpoints.read import Reader
from broker.endpoints.scheduling import Scheduling
from broker.endpoints.sessions import WebSockets
from broker.endpoints.sse import EventStreams
from extra.http import Application, Handler, NotFound, Request, Response, Router
from extra.servers import Counters

__all__ = ["build_application"]


OTHER_METHODS: Final = "GET HEAD POST PUT PATCH DELETE OPTIONS"


def build_application(hub: Hub, counters: Counters, others: Handler | None = None) -> Handler:
    """Return the handler of every request: the routes, behind the guard.

    What is at no route goes to `others`, and so does `/`: the console is there when they have nothing.
    """
    publisher = Publisher(hub)
    scheduling = Scheduling(hub)
    reader = Reader(hub)
    streams = EventStreams(hub)
    sockets = WebSockets(hub)
    operations = Operations(hub, counters)
    attendance = Attendance(hub)
    positions = Positions(hub)
    sharing = Sharing(hub)
    console = Console()

    async def subscribe(request: Request) -> Response:
        """Pick the face of a topic's URL by what the request asks for."""
        if (request.header("upgrade") or "").lower() == "websocket":
            return await sockets.open(request)
        if "text/event-stream" in (request.header("accept") or "").lower():
            return await streams.open(request)
        return await poll(request)

    async def poll(request: Request) -> Response:
        """Read, or take what a group has for somebody."""
        if request.query_value("group") is not None:
            return await sharing.poll(request)
        return await reader.read(request)

    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/t/{topic:path}", subscribe),
        ("PUT", "/t/{topic:path}", publisher.retain),
        ("DELETE", "/t/{topic:path}", publisher.clear),
        ("POST", "/publish", publisher.publish_many),
        ("GET", "/scheduled", scheduling.page),
        ("DELETE", "/scheduled/{id}", scheduling.cancel),
        ("GET", "/presence/{topic:path}", attendance.page),
        ("GET", "/presence", attendance.page),
        ("GET", "/sessions", positions.list),
        ("GET", "/sessions/{session}", positions.one),
        ("DELETE", "/sessions/{session}", positions.remove),
        ("POST", "/sessions/{session}/ack", positions.acknowledge),
        ("GET", "/groups", sharing.list),
        ("GET", "/groups/{group}", sharing.one),
        ("DELETE", "/groups/{group}", sharing.remove),
        ("POST", "/groups/{group}/ack", sharing.acknowledge),
        ("POST", "/groups/{group}/nack", sharing.give_back),
        ("GET", "/poll", poll),
        ("GET", "/sse", streams.open),
        ("GET", "/ws", sockets.open),
        ("GET", "/healthz", operations.health),
        ("GET", "/readyz", operations.readiness),
        ("GET", "/metrics", operations.metrics),
        ("GET", "/", console.page),
        ("GET", "/console/{file}", console.file),
    ]
    router = Router()
    for method, path, handler in routes:
        router.add(method, path, handler)
    router.add("POST", "/t/{topic:path}", publisher.publish, at_once=publisher.publish_at_once)
    if others is not None:
        router.add(OTHER_METHODS, "/{any}", others, priority=-1)
        router.add("GET", "/", _either(others, console.page), priority=1)
    guard = Guard(hub.settings)

    def at_once(request: Request) -> Response | None:
        return router.at_once(request) if guard.admits(request) else None

    return Application(router, middleware=[guard], error_response=hub.tally.answer, at_once=at_once)


def _either(first: Handler, second: Handler) -> Handler:
    """Return a handler that asks `second` where `first` has found nothing."""

    async def handle(request: Request) -> Response:
        try:
            response = await first(request)
        except NotFound:
            return await second(request)
        return await second(request) if response.status == 404 else response

    return handle
