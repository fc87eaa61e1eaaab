"""Services as one application: their routes in one table, their broker, their tasks, and their life.

    async with Services(Rooms, Users(database)) as services:
        response = await services.handle(request)

Whoever hosts it enters it and hands in requests: an ASGI server (`extra.bridges`), our own, a test. Entering
starts the broker, if it is the application's own, then the services in their order; leaving does the same in
reverse, and goes on when one of them fails.

Tasks: one for each method that reacts to a topic, one for each period, one for each WebSocket, and one for
the calls that a request has left for afterwards. All are in one group, which is the application's.
"""

import asyncio
import inspect
import logging
from asyncio import Task, TaskGroup
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from extra.errors import BrokerClosed, InvalidFilter
from extra.http import (
    CONVERTORS,
    Application,
    Condition,
    Convertor,
    ErrorResponse,
    Handler,
    Middleware,
    Parts,
    Request,
    RequestTimeout,
    Response,
    Router,
    as_page,
    debug_response,
    parse_pattern,
    problem_response,
    stepped,
    wants_page,
)
from extra.pubsub import Broker, Message
from extra.services.declarations import Declarations, Declared
from extra.services.endpoint import Endpoint
from extra.services.gatekeeper import Gatekeeper, Rule
from extra.services.limits import AnswerLimit, LimitPassed, ServiceLimits
from extra.services.reactions import PRESENCE, PresenceReaction, Reaction
from extra.services.replies import Asker, Replier
from extra.services.schedule import LoopTimer, Schedule, Timer
from extra.services.service import Service
from extra.services.sockets import SocketEndpoint, asks_for_websocket
from extra.services.threads import Threads
from extra.services.topics import TopicPattern

__all__ = ["Services"]

logger = logging.getLogger("extra.services")

PROBLEM: Final = "application/problem+json"

LAST: Final = -(1 << 31)
"""The priority of what answers where nobody else does."""


class Services:
    """An application made of services. One event loop; it is entered once."""

    def __init__(
        self,
        *services: Service | type[Service],
        broker: Broker | None = None,
        middleware: Sequence[Middleware] = (),
        error_response: ErrorResponse | None = None,
        limits: ServiceLimits | None = None,
        debug: bool = False,
        timer: Timer | None = None,
    ) -> None:
        """Read what the services declare; classes are instantiated without arguments.

        `broker` is one that others keep open; None is one of its own. `middleware` stands around all
        services, the first is the outermost. `error_response` makes the responses to errors; by default they
        are problem documents, or pages that say the same for who looks at them in a browser. With `debug`,
        bugs are shown with their traceback, which is for developers alone. `timer` is what schedules go by,
        the event loop's time by default.

        Raises:
            TypeError: a method's signature does not go with what it is declared for.
            ValueError: a pattern is none, or two methods are declared for the same.
        """
        self.limits = limits if limits is not None else ServiceLimits()
        self.services = [each() if isinstance(each, type) else each for each in services]
        self.debug = debug
        self._broker = broker
        self._owns_broker = broker is None
        self._error_response = error_response or problem_response
        self._shows_pages = error_response is None
        self._threads = Threads(self.limits)
        self._tasks: TaskGroup | None = None
        self._started: list[Service] = []
        self._listed: list[tuple[str, str, str]] = []
        self._timer = timer if timer is not None else LoopTimer()
        self._reactions: list[Reaction | Replier] = []
        self._sockets: list[SocketEndpoint] = []
        self._gatekeeper = Gatekeeper()
        self._schedules: list[Schedule] = []
        self._scheduled: list[Task[None]] = []
        self._asker: Asker | None = None
        self._streams: set[Parts] = set()
        self._draining = False
        self._previous: Services | None = None
        self._is_surrounded = bool(middleware) or any(service.middleware for service in self.services)
        self._router = Router(_convertors_of(self.services))
        for service in self.services:
            self._take_in(service)
        self._inner = Application(self._router, middleware=middleware, error_response=self._error_response)

    # Serving

    async def handle(self, request: Request) -> Response:
        """Answer `request`: by the services' methods, within their middleware."""
        answer = self.begin(request)
        return answer if isinstance(answer, Response) else await answer

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Do what `handle` does, as far as that need not wait. A `Begin`."""
        try:
            answer = self._inner.begin(request)
        except BaseException:
            if request.unfinished:
                self._finish(request)
            raise
        if not isinstance(answer, Response):
            if self._is_surrounded:
                answer = self._within_limit(request, answer)
            return self._end_later(request, answer)
        if type(answer.body) is bytes and answer.content_type != PROBLEM and not request.unfinished:
            return answer
        return stepped(self._end(request, answer))

    async def _within_limit(self, request: Request, answer: Awaitable[Response]) -> Response:
        """Wait for `answer`, which has middleware around it, as long as the route has time for that."""
        limit = AnswerLimit.of(request, self.limits.timeout_s)
        try:
            return await limit.around(answer)
        except LimitPassed as error:
            what = f"{request.method} {request.raw_path}: no answer within timeout_s={limit.limit_s:g}"
            logger.warning("%s: middleware cancelled", what)
            if request.body_arrived:
                return self._error_response(error)
            return self._error_response(RequestTimeout("body not received in time"))

    async def _end_later(self, request: Request, answer: Awaitable[Response]) -> Response:
        """Return the response that `answer` has, when its method has come to its end."""
        try:
            response = await answer
        except BaseException:
            if request.unfinished:
                self._finish(request)
            raise
        return await self._end(request, response)

    async def _end(self, request: Request, response: Response) -> Response:
        """Return `response`, with what the application has to say to it, and see to what has to follow it."""
        if response.content_type == PROBLEM and self._shows_pages and wants_page(request):
            as_page(response)
        body = response.body
        if type(body) is not bytes and isinstance(body, Parts):  # whose class is abstract, and slow to ask
            if request.method == "HEAD":
                await body.aclose()
            else:
                self._keep(body)
        if request.unfinished:
            if isinstance(response.body, Parts):
                response.body.when_ended(lambda: self._finish(request))
            else:
                self._finish(request)
        return response

    def _keep(self, parts: Parts) -> None:
        """Note a body that goes on, so that it can be ended."""
        if self._draining:
            parts.end()
            return
        self._streams.add(parts)
        parts.when_ended(lambda: self._streams.discard(parts))

    def routes(self) -> Iterator[tuple[str, str, str]]:
        """Iterate over what is served: method, pattern, and the name of the method that does it."""
        yield from self._listed

    @property
    def broker(self) -> Broker:
        """The broker behind the services. Raises BrokerClosed before they have been started."""
        if self._broker is None:
            raise BrokerClosed("the application has not been started")
        return self._broker

    def attach(self, broker: Broker) -> None:
        """Use a broker that others keep open, in place of one of its own. Before it is entered."""
        assert self._tasks is None, "an application gets its broker before it starts"
        self._broker = broker
        self._owns_broker = False

    @property
    def owns_broker(self) -> bool:
        """Whether the broker is the application's own, which it starts and closes."""
        return self._owns_broker

    def succeed(self, previous: "Services") -> None:
        """Take over from `previous`, which runs on the same broker. Before it is entered.

        When the services of this one have started, methods that react to topics and answer requests go on
        where those of the same name and pattern stand there, so that no message is missed, and none comes
        twice; the periods of the previous one end. It still answers what it has begun, until it is left.
        """
        assert self._tasks is None, "an application takes over before it starts"
        self._previous = previous

    async def retire(self, cursors: dict[str, str]) -> None:
        """React to nothing more; note in `cursors` where to go on, by the name of each reaction.

        Calls that are under way go on, and so do requests, streams, WebSockets and periods.
        """
        for reaction in self._reactions:
            cursors[reaction.name] = await reaction.stop()

    async def ask(self, topic: str, data: object, timeout_s: float) -> Message:
        """Make a request over a topic, and return the reply; see `Service.ask`."""
        if self._asker is None:
            raise BrokerClosed("the application has not been started")
        return await self._asker.ask(topic, data, timeout_s)

    # Life

    def drain(self) -> None:
        """End what goes on, WebSockets and bodies in parts: the host shuts down. Idempotent."""
        self._draining = True
        for service in self._started:
            service.drain()
        for endpoint in self._sockets:
            endpoint.drain()
        for parts in list(self._streams):
            parts.end()

    async def __aenter__(self) -> Self:
        assert self._tasks is None, "an application is entered once"
        if self._broker is None:
            self._broker = Broker()
        if self._owns_broker:
            await self._broker.start()
        tasks = self._tasks = TaskGroup()
        await tasks.__aenter__()
        self._asker = Asker(self._broker, tasks, self.limits)
        try:
            for service in self.services:
                self._started.append(service)
                await service.start()
            await self._begin_to_react(self._broker, tasks)
        except BaseException:
            await self._stop()
            raise
        self._scheduled = [tasks.create_task(schedule.run()) for schedule in self._schedules]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failures = await self._stop()
        if failures and error is None:
            raise ExceptionGroup("services have failed to stop", failures)

    async def _begin_to_react(self, broker: Broker, tasks: TaskGroup) -> None:
        """Start the reactions, behind those of the application that this one takes over from, if any."""
        previous, self._previous = self._previous, None
        self._keep_gate(broker)
        cursors: dict[str, str] = {}
        try:
            if previous is not None:
                await previous.retire(cursors)
            for reaction in self._reactions:
                await reaction.start(broker, tasks, cursors.get(reaction.name, "now"))
        except BaseException:
            if previous is not None and previous._tasks is not None:
                for reaction in previous._reactions:
                    if reaction.name in cursors:
                        await reaction.start(broker, previous._tasks, cursors[reaction.name])
            raise
        if previous is not None:
            previous._leave_gate()
            for schedule in previous._schedules:
                schedule.retire()

    def _keep_gate(self, broker: Broker) -> None:
        """Decide from here on, besides those that do already."""
        if self._gatekeeper:
            broker.gates.append(self._gatekeeper)

    def _leave_gate(self) -> None:
        if self._broker is not None and self._gatekeeper in self._broker.gates:
            self._broker.gates.remove(self._gatekeeper)

    async def _stop(self) -> list[Exception]:
        """Stop everything, in reverse; return what of the services went wrong, which has been logged."""
        self.drain()
        for task in self._scheduled:
            task.cancel()
        for reaction in self._reactions:
            await reaction.stop()
        failures: list[Exception] = []
        try:
            await self._end_tasks()
        finally:
            while self._started:
                service = self._started.pop()
                try:
                    async with asyncio.timeout(self.limits.stop_timeout_s):
                        await service.stop()
                except Exception as error:
                    logger.exception("%s has failed to stop", type(service).__name__)
                    failures.append(error)
            self._leave_gate()
            self._threads.close()
            if self._owns_broker and self._broker is not None:
                await self._broker.close()
        return failures

    async def _end_tasks(self) -> None:
        """Wait for what is under way, for a while, and cancel the rest."""
        tasks = self._tasks
        assert tasks is not None
        assert self._asker is not None
        await self._asker.stop()
        try:
            async with asyncio.timeout(self.limits.stop_timeout_s):
                await tasks.__aexit__(None, None, None)
        except TimeoutError:
            logger.warning("what was still under way has been cancelled after stop_timeout_s")

    # Private

    def _take_in(self, service: Service) -> None:
        """Read what a service declares."""
        service._services = self
        for name, declarations in service.declared():
            method = getattr(service, name)
            where = f"{type(service).__name__}.{name}"
            try:
                declarations.check()
                for declared in declarations.places:
                    try:
                        if declared.kind in ("HTTP", "WEBSOCKET"):
                            self._add_route(service, method, declared, declarations, where)
                        else:
                            self._add_reaction(method, declared, declarations, where)
                    except TypeError as error:  # of the method's signature
                        raise TypeError(f"{declared}: {error}") from None
                for period_s in declarations.periods_s:
                    self._add_schedule(method, period_s, declarations, where)
            except (TypeError, ValueError, InvalidFilter) as error:
                raise type(error)(f"{where}: {error}") from None

    def _add_route(
        self,
        service: Service,
        method: Callable[..., object],
        declared: Declared,
        declarations: Declarations,
        where: str,
    ) -> None:
        path = _joined(service.prefix, declared.place)
        pattern = parse_pattern(path, self._router.convertors)
        conditions = list(declarations.conditions)
        endpoint: Endpoint | SocketEndpoint
        if declared.kind == "WEBSOCKET":
            endpoint = SocketEndpoint(
                method,
                declared,
                declarations,
                pattern,
                service=service,
                limits=self.limits,
                surrounded=self._is_surrounded,
                spawn=self._spawn,
                failure=self._failure,
            )
            self._sockets.append(endpoint)
            conditions.insert(0, asks_for_websocket)
        else:
            endpoint = Endpoint(
                method,
                declared,
                declarations,
                pattern,
                service=service,
                threads=self._threads,
                usual_timeout_s=self.limits.timeout_s,
                surrounded=self._is_surrounded,
                failure=self._failure,
            )
        handler: Handler = endpoint
        if service.middleware:
            handler = Application(
                endpoint, middleware=service.middleware, error_response=self._error_response
            )
        methods = declared.methods or "GET"
        condition = _all_of(conditions)
        self._router.add(methods, path, handler, priority=declared.priority, condition=condition)
        if isinstance(endpoint, SocketEndpoint):
            self._router.add("GET", path, endpoint.refuse, priority=LAST, condition=_always)
        self._listed += [(each, path, where) for each in (declared.methods or declared.kind).split()]

    def _add_reaction(
        self, method: Callable[..., object], declared: Declared, declarations: Declarations, where: str
    ) -> None:
        presence = declared.kind in ("JOIN", "LEAVE")
        place = PRESENCE + declared.place if presence else declared.place
        pattern = TopicPattern(place, self._router.convertors)
        if declared.kind in ("PUBLISH", "SUBSCRIBE"):
            rule = Rule(
                method,
                declared,
                declarations,
                pattern,
                threads=self._threads,
                usual_timeout_s=self.limits.timeout_s,
            )
            self._gatekeeper.add(declared.kind, rule)
        elif declared.kind == "REQUEST":
            replier = Replier(
                method, declared, declarations, pattern, threads=self._threads, limits=self.limits
            )
            self._reactions.append(replier)
        else:
            reaction = (PresenceReaction if presence else Reaction)(
                method,
                declared,
                declarations,
                pattern,
                threads=self._threads,
                usual_timeout_s=self.limits.timeout_s,
            )
            self._reactions.append(reaction)
        self._listed.append((declared.kind, declared.place, where))

    def _add_schedule(
        self, method: Callable[..., object], period_s: float, declarations: Declarations, where: str
    ) -> None:
        schedule = Schedule(method, period_s, declarations, threads=self._threads, timer=self._timer)
        self._schedules.append(schedule)
        self._listed.append(("EVERY", f"{period_s:g} s", where))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> Task[None]:
        """Run a coroutine in a task of the application's."""
        if self._tasks is None:
            coroutine.close()
            raise BrokerClosed("the application has not been started")
        return self._tasks.create_task(coroutine)

    def _failure(self, error: Exception, request: Request, where: str) -> Response:
        """Return the response to a bug of a service, which has been logged."""
        return debug_response(error, request, where) if self.debug else self._error_response(error)

    def _finish(self, request: Request) -> None:
        """Do what a request has left for afterwards, in a task of its own."""
        calls = request.finish()
        if calls and self._tasks is not None:
            self._tasks.create_task(self._call_afterwards(calls))

    async def _call_afterwards(
        self, calls: Sequence[tuple[Callable[..., object], tuple[object, ...]]]
    ) -> None:
        for function, arguments in calls:
            try:
                if inspect.iscoroutinefunction(function):
                    await function(*arguments)
                else:
                    await self._threads.run(function, *arguments)
            except Exception:
                logger.exception("what was to be done after a response has failed: %r", function)


def _convertors_of(services: Sequence[Service]) -> Mapping[str, Convertor]:
    """Return the usual kinds of parameters, and those of the services. Raises ValueError on a conflict."""
    kinds = dict(CONVERTORS)
    for service in services:
        for name, convertor in service.convertors.items():
            if kinds.setdefault(name, convertor) is not convertor:
                raise ValueError(
                    f"{type(service).__name__}: there is another kind {name!r} of parameter already"
                )
    return kinds


def _joined(prefix: str, path: str) -> str:
    """Return a path behind a prefix: one slash at the beginning, and one between them."""
    prefix = prefix.strip("/")
    if not prefix:
        return "/" + path.removeprefix("/")
    return f"/{prefix}/{path.removeprefix('/')}" if path else f"/{prefix}"


def _always(request: Request) -> bool:
    """Hold. Routes with a condition may stand beside each other: several WebSockets of one path do."""
    return True


def _all_of(conditions: Sequence[Condition]) -> Condition | None:
    if not conditions:
        return None
    return (
        conditions[0] if len(conditions) == 1 else lambda request: all(each(request) for each in conditions)
    )
