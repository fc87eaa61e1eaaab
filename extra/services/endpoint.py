"""From a declared method to a handler of HTTP requests.

What a method returns becomes a response: a `Response` is one, None is 204, an iterator of either kind comes
in parts, bytes and text are what they are, and anything else is JSON. What it raises becomes one, too: an
ExtraError by its status, and a bug by 500, once it has been logged with its route.
"""

import inspect
import logging
from asyncio import CancelledError
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import msgspec

from extra.errors import ExtraError, LocalProtocolError
from extra.http import Parts, Pattern, Request, RequestTimeout, Response, Rest, encode_body, step
from extra.services.arguments import Signature
from extra.services.declarations import Declarations, Declared
from extra.services.limits import AnswerLimit, LimitPassed, within
from extra.services.threads import Threads

__all__ = ["Endpoint", "bound_step"]

logger = logging.getLogger("extra.services")


class Endpoint:
    """One method of a service, for the requests of one declaration. `name` is how the log calls it."""

    def __init__(
        self,
        method: Callable[..., object],
        declared: Declared,
        declarations: Declarations,
        pattern: Pattern,
        *,
        service: object,
        threads: Threads,
        usual_timeout_s: float,
        surrounded: bool,
        failure: Callable[[Exception, Request, str], Response],
    ) -> None:
        """Read the signature of `method`, which is bound to `service`. Raises as `Signature` does.

        `surrounded` says that its application has middleware, whose time counts: there is an `AnswerLimit`.
        `failure` makes the response to a bug, which has been logged: given that, the request, and the name.
        """
        self.name = f"{declared.methods.replace(' ', ', ')} {pattern.text} ({method.__qualname__})"
        self._method = method
        self._exposed = declared.exposed
        others = object if declared.exposed else str  # which may stand in the body, or in the query alone
        self._signature = Signature(method, {"request": Request}, pattern.kinds, others=others)
        self._threads = threads
        self._timeout_s = usual_timeout_s if declared.timeout_s is None else declared.timeout_s
        self._failure = failure
        self._before = [bound_step(step, service) for step in declarations.before]
        self._after = [bound_step(step, service) for step in declarations.after]
        self._is_coroutine = inspect.iscoroutinefunction(method)
        self._takes_request = self._signature.is_request
        self._is_surrounded = surrounded
        tells_limit = surrounded and declared.timeout_s is not None
        self._is_plain = self._is_coroutine and not (
            self._exposed or self._before or self._after or tells_limit
        )
        self._in_thread = not (self._is_coroutine or inspect.isasyncgenfunction(method) or declarations.quick)

    async def __call__(self, request: Request) -> Response:
        """Answer `request`. Raises what the method raises, if that is an error of ours."""
        answer = self.begin(request)
        return answer if isinstance(answer, Response) else await answer

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Do what calling it does, as far as the method need not wait. A `Begin`.

        A method that is a coroutine, has nothing around it, and returns a response without having suspended,
        as most do, needs no coroutine of ours.
        """
        if not self._is_plain:
            return step(self._answer(request, self._call(request)))
        begun: object
        try:
            if self._takes_request:
                begun = step(self._method(request))  # type: ignore[arg-type]
            else:
                begun = step(self._method(**self._signature.arguments_of(request)))  # type: ignore[arg-type]
        except (Exception, CancelledError) as error:  # noqa: BLE001  # it is logged, or raised again
            return self._failed(error, request)
        if type(begun) is Response:
            return begun
        return step(self._answer(request, self._go_on(begun)))

    async def _answer(self, request: Request, call: Coroutine[Any, Any, Response]) -> Response:
        """Answer `request` with what `call` returns. Raises as calling the endpoint does."""
        try:
            if self._is_surrounded:
                return await AnswerLimit.of(request, self._timeout_s).inside(self._timeout_s, call)
            return await within(self._timeout_s, call)
        except (Exception, CancelledError) as error:  # noqa: BLE001  # it is logged, or raised again
            return self._failed(error, request)

    def _failed(self, error: Exception | CancelledError, request: Request) -> Response:
        """Return the response to what the method has raised, unless it is an error that goes on as one."""
        if isinstance(error, CancelledError):
            logger.info("%s: cancelled: the client has gone, or the server ends", self.name)
        elif isinstance(error, LimitPassed):
            logger.warning("%s: no answer within timeout_s=%g: cancelled", self.name, self._timeout_s)
            if not request.body_arrived:
                raise RequestTimeout("body not received in time") from error
        elif not isinstance(error, ExtraError) or isinstance(error, LocalProtocolError):
            logger.error("%s has failed", self.name, exc_info=error)
            return self._failure(error, request, self.name)
        raise error

    async def _go_on(self, begun: object) -> Response:
        """Return the response of a method that has `begun`, with nothing around it."""
        return await self._respond(await begun if isinstance(begun, Rest) else begun)

    async def _call(self, request: Request) -> Response:
        """Call the method, and what is before and after it."""
        for before in self._before:
            value = before(request)
            if inspect.isawaitable(value):
                value = await value
            if value is not None:
                return await self._respond(value)
        if self._exposed:
            arguments = await self._signature.all_arguments_of(request)
        else:
            arguments = self._signature.arguments_of(request)
        if self._is_coroutine:
            value = await self._method(**arguments)  # type: ignore[misc]  # as has been asked
        else:
            if self._in_thread:
                value = await self._threads.run(self._method, **arguments)
            else:
                value = self._method(**arguments)
            if inspect.isawaitable(value):
                value = await value
        response = value if type(value) is Response else await self._respond(value)
        for after in self._after:
            value = after(request, response)
            if inspect.isawaitable(value):
                value = await value
            if value is not None:
                response = await self._respond(value)
        return response

    async def _respond(self, value: object) -> Response:
        """Return the response that `value` stands for."""
        if isinstance(value, Response):
            if isinstance(value.body, Parts) and value.content_type is None:
                await value.body.begin()
                value.content_type = value.body.content_type
            return value
        if value is None and not self._exposed:
            return Response(204)
        if isinstance(value, Iterator):
            value = self._threads.iterate(value)
        if isinstance(value, AsyncIterable):
            parts = Parts(value)
            await parts.begin()
            return Response(200, parts, content_type=parts.content_type)
        try:
            if self._exposed:
                return Response(200, msgspec.json.encode(value), content_type="application/json")
            content, content_type = encode_body(value)
        except TypeError:
            what = f"{type(value).__qualname__}, which is no response, and not to be written as JSON"
            raise TypeError(f"{self.name} has returned {what}") from None
        return Response(200, content, content_type=content_type)


def bound_step(step: Callable[..., object], service: object) -> Callable[..., object]:
    """Return a step of `pre` or `post` as it is called: one that takes `self` is the service's."""
    if next(iter(inspect.signature(step).parameters), "") != "self":
        return step
    return partial(step, service)
