"""From a path and a method to a handler: a tree of levels.

Patterns (`extra.http.patterns`) that begin with the same levels share them, so that finding a route costs a
look-up for each level of the path, however many routes there are. Where several patterns match, the best is
the one that says more, level by level from the left: text, then text around parameters, then parameters of a
kind, then those of any text, then the rest; of equals, the first that was added. A priority goes before all
that. A pattern whose handlers have other methods, or whose conditions do not hold, lets the next one have it.

The path is matched as it was sent, and what a parameter has taken is decoded afterwards, so that `%2F` in a
level does not end it. Every node of the tree is looked at once at most, whatever the path. Paths repeat: what
was found for one is kept, where it depends on the path and the method alone.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, TypeAlias, cast

from extra.http.convertors import CONVERTORS, Convertor
from extra.http.errors import MethodNotAllowed, NotFound
from extra.http.patterns import ANY_LEVEL, REST, Level, Pattern, parse_pattern
from extra.http.request import Request, decode_percent
from extra.http.response import Response
from extra.http.stepping import stepped

__all__ = ["AtOnce", "Begin", "Condition", "Handler", "Route", "Router", "begin_of"]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request, or raises an ExtraError that says what is wrong with it."""

AtOnce: TypeAlias = Callable[[Request], Response | None]
"""Answers a request without waiting. None: it does have to wait, and nothing has been done.

The response has bytes for a body. A handler that mostly has no need to wait can be given one of these
beside it: then most of its requests are answered without a coroutine, a context or a task (9 of 16 us of a
POST that publishes).
"""

Begin: TypeAlias = Callable[[Request], Response | Awaitable[Response]]
"""Begins to answer a request: returns the response, or else what to await for it.

What it calls may have been run up to where it has suspended, and goes on when that is awaited, which has to
happen before anything else is. Raises as a handler does. Every handler is one.
"""

Condition: TypeAlias = Callable[[Request], bool]
"""Whether a route is for this request. Called before its parameters are known, and never awaits."""

ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

LOWEST: Final = -(1 << 62)

KNOWN_LIMIT_PATHS: Final = 1024
"""So many paths a router knows again. It forgets all when there are more."""

KNOWN_LIMIT_CHARACTERS: Final = 256
"""Longer paths are not kept."""


def begin_of(handler: Begin) -> Begin:
    """Return how to begin with `handler`: by its method `begin`, or else by stepping what it returns."""
    begin: Begin | None = getattr(handler, "begin", None)
    if begin is not None:
        return begin

    def call_and_step(request: Request) -> Response | Awaitable[Response]:
        answer = handler(request)
        return answer if isinstance(answer, Response) else stepped(answer)

    return call_and_step


class Route:
    """One handler for one method of one pattern."""

    __slots__ = ("at_once", "begin", "condition", "handler", "method", "pattern", "priority")

    def __init__(
        self,
        method: str,
        pattern: Pattern,
        handler: Handler,
        priority: int,
        condition: Condition | None,
        at_once: AtOnce | None = None,
    ) -> None:
        self.method = method
        self.pattern = pattern
        self.handler = handler
        self.begin = begin_of(handler)
        self.priority = priority
        self.condition = condition
        self.at_once = at_once


class Router:
    """A table of handlers by pattern and method; itself a handler."""

    def __init__(self, convertors: Mapping[str, Convertor] = CONVERTORS) -> None:
        """Start empty. `convertors` are the kinds of parameters that patterns may have."""
        self.convertors = convertors
        self._root = _Node()
        self._known: dict[str, dict[str, _Found]] = {}  # by method and path
        self._known_paths = 0
        self._at_once_methods: set[str] = set()

    def add(
        self,
        methods: str,
        pattern: str,
        handler: Handler,
        *,
        priority: int = 0,
        condition: Condition | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        """Let `handler` answer requests for `pattern` with one of `methods`, which are separated by spaces.

        GET answers HEAD as well, whose body the connection leaves out, and OPTIONS is answered here, with
        `Allow`: unless there are handlers for them. With a `condition`, only requests for which it holds.
        `at_once` is asked before `handler` where the router is asked for what needs no waiting.

        Raises:
            ValueError: the pattern is none, or there is a handler for it, the method and the priority
                already, and no condition tells them apart.
        """
        parsed = parse_pattern(pattern, self.convertors)
        node = self._root
        nodes = [node]
        for level in parsed.levels:
            node = node.grow(level)
            nodes.append(node)
        for method in methods.split():
            node.put(Route(method, parsed, handler, priority, condition, at_once))
            if at_once is not None:
                self._at_once_methods.add(method)
        for each in nodes:
            each.highest = max(each.highest, priority)
        self._known = {}
        self._known_paths = 0

    def routes(self) -> Iterator[Route]:
        """Iterate over the routes; those of one pattern and method in the order in which they are tried."""
        return self._root.routes()

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Call the handler for `request`, with the parameters of its path in `request.params` and `values`.

        Raises:
            NotFound: no pattern matches the path.
            MethodNotAllowed: one does, and none that does has the method.
            MalformedRequest: a parameter cannot be decoded.
        """
        route = self._find(request)
        return self._refuse(request) if route is None else route.handler(request)

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Do what calling it does. A `Begin`."""
        route = self._find(request)
        return self._refuse(request) if route is None else route.begin(request)

    def at_once(self, request: Request) -> Response | None:
        """Answer a request whose route can do so without waiting; None when it cannot, or there is none.

        Raises what the route raises. An `AtOnce` itself.
        """
        if request.method not in self._at_once_methods:
            return None
        route = self._find(request)
        return route.at_once(request) if route is not None and route.at_once is not None else None

    def _find(self, request: Request) -> Route | None:
        """Return the best route for a request, which has the parameters of its path from then on."""
        known = self._known.get(request.method)
        found = None if known is None else known.get(request.raw_path)
        if found is None:
            search = _Search(_normalized(request.raw_path), request)
            search.visit(self._root, 0, (), ())
            if search.found is None:
                return None
            found = _Found(search.found, search.texts, search.values)
            if search.repeatable and len(request.raw_path) <= KNOWN_LIMIT_CHARACTERS:
                self._remember(request, found)
        if found.params:
            request.values = request.params = found.params.copy()
            if found.values is not found.params:
                request.values = found.values.copy()
        return found.route

    def _remember(self, request: Request, found: "_Found") -> None:
        if self._known_paths == KNOWN_LIMIT_PATHS:
            self._known = {}
            self._known_paths = 0
        self._known_paths += 1
        self._known.setdefault(request.method, {})[request.raw_path] = found

    def _refuse(self, request: Request) -> Awaitable[Response]:
        path = _normalized(request.raw_path)
        allowed: set[str] = set()
        if path == "*" and request.method == "OPTIONS":  # RFC 9110 9.3.7: the server as a whole
            allowed.update(route.method for route in self.routes())
        else:
            _Search(path, request, allowed).visit(self._root, 0, (), ())
        if "GET" in allowed:
            allowed.add("HEAD")
        if not allowed or request.method in allowed:  # in the latter case, a condition does not hold
            raise NotFound("no such resource")
        allow = ", ".join(sorted(allowed | {"OPTIONS"}))
        if request.method == "OPTIONS":
            return tell_options(allow)
        raise MethodNotAllowed(f"method {request.method} is not allowed here", allow)


class _Node:
    """What follows after some levels: further ones, and the routes of patterns that end here."""

    __slots__ = ("branches", "highest", "methods", "rests", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, _Node] = {}
        self.branches: list[tuple[Level, _Node]] = []  # the better before the worse
        self.rests: list[tuple[Level, _Node]] = []
        self.methods: dict[str, list[Route]] = {}  # by priority, then in the order in which they were added
        self.highest = LOWEST  # the highest priority here and below

    def grow(self, level: Level) -> "_Node":
        """Return the node behind `level`, made unless it is there."""
        if not level.names:
            return self.texts.setdefault(level.text, _Node())
        branches = self.rests if level.rank == REST else self.branches
        for known, node in branches:
            if known.shape == level.shape:
                return node
        node = _Node()
        branches.append((level, node))
        branches.sort(key=lambda branch: branch[0].rank)
        return node

    def put(self, route: Route) -> None:
        routes = self.methods.setdefault(route.method, [])
        for other in routes:
            if other.priority == route.priority and other.condition is None and route.condition is None:
                raise ValueError(f"two handlers for {route.method} {route.pattern.text}")
        routes.append(route)
        routes.sort(key=lambda each: (-each.priority, each.condition is None))

    def routes(self) -> Iterator[Route]:
        for routes in self.methods.values():
            yield from routes
        for node in self.texts.values():
            yield from node.routes()
        for _, node in (*self.branches, *self.rests):
            yield from node.routes()


class _Found:
    """A route, and the parameters of the path that it was found for."""

    __slots__ = ("params", "route", "values")

    def __init__(self, route: Route, texts: tuple[str, ...], values: tuple[object, ...]) -> None:
        self.route = route
        names = route.pattern.names
        self.params = dict(zip(names, texts))  # noqa: B905  # 0.2 us for the check
        self.values: dict[str, object] = cast("dict[str, object]", self.params)
        if route.pattern.typed:
            self.values = dict(zip(names, values, strict=True))


class _Search:
    """One walk through the tree: for the route of a request or, with `allowed`, for the methods there are."""

    __slots__ = ("allowed", "best", "found", "levels", "repeatable", "request", "texts", "values", "visits")

    def __init__(self, path: str, request: Request, allowed: set[str] | None = None) -> None:
        self.levels = path[1:].split("/") if path[:1] == "/" else []
        self.request = request
        self.allowed = allowed
        self.visits = 0  # to nodes that further ones branch off from
        self.best = LOWEST
        self.repeatable = True  # nobody else was asked: no condition, and no convertor of a service
        self.found: Route | None = None
        self.texts: tuple[str, ...] = ()  # of the parameters of what has been found
        self.values: tuple[object, ...] = ()

    def visit(self, node: _Node, depth: int, texts: tuple[str, ...], values: tuple[object, ...]) -> None:
        """Look at `node`, which stands behind the first `depth` levels of the path, and at what is below.

        `texts` and `values` are what parameters have taken so far.
        """
        self.visits += 1
        levels = self.levels
        while depth < len(levels):
            level = levels[depth]
            below = node.texts.get(level)
            if below is not None and below.highest <= self.best:
                below = None
            if not node.branches and not node.rests:  # one way to go on: most nodes of most trees
                if below is None:
                    return
                node = below
                depth += 1
                continue
            if below is not None:
                self.visit(below, depth + 1, texts, values)
            if level:
                for pattern, below in node.branches:
                    if below.highest > self.best:
                        if pattern.rank == ANY_LEVEL:
                            text = decode_percent(level)
                            self.visit(below, depth + 1, (*texts, text), (*values, text))
                        else:
                            self.repeatable = self.repeatable and pattern.repeatable
                            taken = _parse_level(pattern, level)
                            if taken is not None:
                                self.visit(below, depth + 1, (*texts, *taken[0]), (*values, *taken[1]))
            for rest, below in node.rests:
                if below.highest > self.best:
                    self.repeatable = self.repeatable and rest.repeatable
                    text = decode_percent("/".join(levels[depth:]))
                    try:
                        value = rest.convertors[0].parse(text)
                    except ValueError:
                        continue
                    self.look(below, (*texts, text), (*values, value))
            return
        if depth:
            self.look(node, texts, values)

    def look(self, node: _Node, texts: tuple[str, ...], values: tuple[object, ...]) -> None:
        """Take the best route that ends at `node`, if it is better than what has been found."""
        methods = node.methods
        if self.allowed is not None:
            self.allowed.update(methods)
            return
        method = self.request.method
        routes = methods.get(method)
        if routes is None and method == "HEAD":
            routes = methods.get("GET")
        for route in routes or ():
            if route.priority <= self.best:
                return
            if route.condition is not None:
                self.repeatable = False
            if route.condition is None or route.condition(self.request):
                self.best = route.priority
                self.found = route
                self.texts = texts
                self.values = values
                return


def _parse_level(pattern: Level, level: str) -> tuple[list[str], list[object]] | None:
    """Return the texts and the values of the parameters of one level, None when they do not match."""
    if pattern.regex is None:
        texts = [decode_percent(level)]
    else:
        match = pattern.regex.fullmatch(level)
        if match is None:
            return None
        texts = [decode_percent(text) for text in match.groups()]
    try:
        return texts, [each.parse(text) for each, text in zip(pattern.convertors, texts, strict=True)]
    except ValueError:
        return None


def _normalized(path: str) -> str:
    """Return a path with its escapes in one spelling. Raises MalformedRequest when one is none."""
    if "%" not in path:
        return path
    decode_percent(path)  # refuses malformed escapes, before what follows could mend them
    return ESCAPE.sub(_normalize, path)


def _normalize(escape: re.Match[str]) -> str:
    """Return what an escape is the same as (RFC 3986 6.2.2): what it stands for, or itself in upper case."""
    character = chr(int(escape[0][1:], 16))
    return character if character in UNRESERVED else escape[0].upper()


async def tell_options(allow: str) -> Response:
    return Response(204, headers=(("Allow", allow),))
