"""The decorators of services. They note what a method is for, and leave it what it is.

    class Rooms(Service):
        @on(GET="/rooms/{room:int}")
        async def show(self, request: Request, room: int) -> Response: ...

What they note stands on the function itself, and is read when an application is made of its service: a method
that overrides another one says anew what it is for. Type checkers see the function unchanged.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf
from typing import Final, TypeVar

from extra.http import Request
from extra.services.limits import check_timeout

__all__ = [
    "Declarations",
    "Declared",
    "declarations_of",
    "every",
    "expose",
    "on",
    "post",
    "pre",
    "when",
]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHERS: Final = ("TOPIC", "WEBSOCKET", "REQUEST", "PUBLISH", "SUBSCRIBE", "JOIN", "LEAVE")
"""What else a method can be declared for, each on its own."""

ATTRIBUTE: Final = "_extra_declarations"

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Declared:
    """One thing that a method is for: `kind` is HTTP or one of `OTHERS`, `place` its path or its topic."""

    kind: str
    methods: str  # of HTTP, separated by spaces
    place: str
    priority: int
    timeout_s: float | None
    exposed: bool = False
    subprotocols: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What stands in the decorator: methods or kind, and the place."""
        return f"{self.methods.replace(' ', ', ') or self.kind} {self.place}"


@dataclass(slots=True)
class Declarations:
    """All that the decorators have noted of one function."""

    places: list[Declared] = field(default_factory=list)
    periods_s: list[float] = field(default_factory=list)
    before: list[Callable[..., object]] = field(default_factory=list)
    after: list[Callable[..., object]] = field(default_factory=list)
    conditions: list[Callable[[Request], bool]] = field(default_factory=list)
    quick: bool = False

    def check(self) -> None:
        """Raise TypeError when a decorator would be of no use: what it says has nothing to apply to."""
        kinds = {each.kind for each in self.places}
        for name, steps, wanted in (
            ("pre", self.before, {"HTTP", "WEBSOCKET"}),
            ("post", self.after, {"HTTP"}),
            ("when", self.conditions, {"HTTP", "WEBSOCKET"}),
        ):
            if steps and not kinds & wanted:
                told = " or ".join(sorted(wanted))
                raise TypeError(f"{name}() is never asked: it is for methods that are declared for {told}")


def declarations_of(function: object) -> Declarations | None:
    """Return what has been noted of a function, None when it is not declared for anything."""
    found = getattr(function, ATTRIBUTE, None)
    return found if isinstance(found, Declarations) else None


def on(
    *,
    priority: int = 0,
    timeout_s: float | None = None,
    quick: bool = False,
    subprotocols: Sequence[str] = (),
    **places: str | Iterable[str],
) -> Callable[[Function], Function]:
    """Declare what a method answers, or reacts to. Each place is one text, or several.

        @on(GET="/rooms/{room:int}")    requests for a path; GET_HEAD="..." is for two methods
        @on(WEBSOCKET="/echo")          WebSockets, of which the method gets each as `socket`
        @on(TOPIC="rooms/{room}/+")     messages, of which the method gets each as `message`
        @on(REQUEST="rpc/add")          requests over a topic: what it returns is the reply
        @on(PUBLISH="rooms/{room}")     decides about each `message` that a client wants to publish
        @on(SUBSCRIBE="rooms/{room}")   decides about each `filter` that a client wants to subscribe to
        @on(JOIN="rooms/{room}")        who comes to a topic, as `member` who shows `data`; LEAVE: who leaves

    The method gets what its signature names: parameters of the path or the levels of the topic, converted to
    their annotations, and `request`; for HTTP, other names are parameters of the query. A path without a
    slash at its beginning gets one, behind the prefix of the service. One that decides refuses by raising,
    `Forbidden` for instance, or by returning False; it may return a `Message` to be published instead
    (`message.rewritten`), or other filters. A filter may leave open what the method is given: then that is
    `+` or `#`.

    `priority` goes before what patterns say (`extra.http.Router`). An answer that is not there after
    `timeout_s` is given up, and the client gets 503; None is what the application says, and inf is never. For
    HTTP that counts from when the application gets the request, with its middleware and all steps. A
    method that is not `async` runs in a thread, unless it is `quick`: then it must not block. `subprotocols`
    are those that it speaks on a WebSocket, the best first.

    Raises:
        TypeError: there is no such key.
        ValueError: `timeout_s` is not above 0.
    """
    check_timeout(timeout_s)
    noted = [
        Declared(*_kind_of(key), place, priority, timeout_s, subprotocols=tuple(subprotocols))
        for key, given in places.items()
        for place in ([given] if isinstance(given, str) else given)
    ]
    if not noted:
        raise TypeError("on() says nothing: it takes places, such as GET='/path' or TOPIC='a/+'")

    def decorate(function: Function) -> Function:
        declarations = _declarations_for(function)
        declarations.places += noted
        declarations.quick = declarations.quick or quick
        return function

    return decorate


def expose(
    *, priority: int = 0, timeout_s: float | None = None, quick: bool = False, **places: str | Iterable[str]
) -> Callable[[Function], Function]:
    """Declare a plain method as an API: arguments by name, and what it returns as JSON.

        @expose(GET="/api/add/{a}/{b}")
        def add(self, a: int, b: int) -> int:
            return a + b

    Arguments are looked for in the path, in the query, and in the members of a JSON object or the fields of a
    form that is the body. They are converted to their annotations; one that is missing, or cannot be, is
    answered with 400 and its name. Everything else is as for `on`, with methods of HTTP alone.
    """
    check_timeout(timeout_s)
    noted = [
        Declared(*_kind_of(key), place, priority, timeout_s, exposed=True)
        for key, given in places.items()
        for place in ([given] if isinstance(given, str) else given)
    ]
    if not noted or any(each.kind != "HTTP" for each in noted):
        raise TypeError("expose() takes paths by methods of HTTP, such as GET='/api/add/{a}/{b}'")

    def decorate(function: Function) -> Function:
        declarations = _declarations_for(function)
        declarations.places += noted
        declarations.quick = declarations.quick or quick
        return function

    return decorate


def every(*, seconds: float) -> Callable[[Function], Function]:
    """Have a method called again and again, `seconds` from one beginning to the next.

    The first time is one period after the start. A call that takes longer than a period is not overtaken: the
    times that have passed meanwhile are left out, and those that follow stay where they were.
    """
    if not 0 < seconds < inf:
        raise ValueError(f"a period of {seconds!r} seconds: it has to be above 0, and end")

    def decorate(function: Function) -> Function:
        _declarations_for(function).periods_s.append(seconds)
        return function

    return decorate


def pre(*steps: Callable[..., object]) -> Callable[[Function], Function]:
    """Have `steps` called before a method that answers HTTP, in their order, with the request.

    A step may raise, and so refuse; what it returns is the answer, unless that is None. It may be a coroutine
    function, and must not block if it is none. One whose first parameter is `self` gets the service first.
    """

    def decorate(function: Function) -> Function:
        _declarations_for(function).before[:0] = steps  # those that stand above come first
        return function

    return decorate


def post(*steps: Callable[..., object]) -> Callable[[Function], Function]:
    """Have `steps` called after a method that answers HTTP, in their order, with request and response.

    What a step returns is the response from there on, unless that is None. What the method raises goes past
    them. For the rest they are as those of `pre`.
    """

    def decorate(function: Function) -> Function:
        _declarations_for(function).after.extend(steps)  # those that stand above come last
        return function

    return decorate


def when(*conditions: Callable[[Request], bool]) -> Callable[[Function], Function]:
    """Let a method answer only the requests for which all `conditions` hold; others may have the rest.

    They are called while the route is looked for, before its parameters are known, and must not block.
    """

    def decorate(function: Function) -> Function:
        _declarations_for(function).conditions.extend(conditions)
        return function

    return decorate


def _declarations_for(function: Callable[..., object]) -> Declarations:
    """Return the function's own declarations, made if there are none."""
    if not inspect.isfunction(function):
        raise TypeError(f"{function!r} is not a method: what is declared is a function in a service's class")
    found = declarations_of(function)
    if found is None:
        found = Declarations()
        setattr(function, ATTRIBUTE, found)
    return found


def _kind_of(key: str) -> tuple[str, str]:
    """Return the kind that a keyword names, and its methods of HTTP. Raises TypeError."""
    if key in OTHERS:
        return key, ""
    methods = key.split("_")
    for method in methods:
        if method not in METHODS:
            known = [*METHODS, *OTHERS]
            alike = get_close_matches(method.upper(), known, 1)
            hint = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(known)}"
            raise TypeError(f"nothing can be declared for {method!r}: {hint}")
    return "HTTP", " ".join(methods)
