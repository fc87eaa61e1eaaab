"""From a path and a method to a handler.

A pattern is a path in which `{name}` stands for one level and a last `{name:path}` for the rest, which may
be empty and hold any number of slashes. It is matched against the path as it was sent: what a parameter has
taken is decoded afterwards, so that `%2F` in a level does not end it. Patterns without parameters are found
first, in one step; the others are tried in the order in which they were added.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from extra.http.errors import MethodNotAllowed, NotFound
from extra.http.request import Request, decode_percent
from extra.http.response import Response

__all__ = ["Handler", "Router"]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request, or raises an ExtraError that says what is wrong with it."""

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
ESCAPED_UNRESERVED: Final = re.compile(r"%(2[DE]|3\d|[46][1-9A-F]|[57][\dA]|5F|7E)", re.IGNORECASE)


class Router:
    """A table of handlers by pattern and method; itself a handler."""

    def __init__(self) -> None:
        self._plain: dict[str, dict[str, Handler]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, Handler]] = {}

    def add(self, methods: str, pattern: str, handler: Handler) -> None:
        """Let `handler` answer requests for `pattern` with one of `methods`, which are separated by spaces.

        GET answers HEAD as well, whose body the connection leaves out, and OPTIONS is answered here, with
        `Allow`: unless there are handlers for them.

        Raises:
            ValueError: the pattern is none, or there is a handler for it and the method already.
        """
        compiled = compile_pattern(pattern)
        if compiled.groups:
            handlers = self._patterns.setdefault(compiled, {})
        else:
            handlers = self._plain.setdefault(pattern, {})
        for method in methods.split():
            if method in handlers:
                raise ValueError(f"two handlers for {method} {pattern}")
            handlers[method] = handler

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Call the handler for `request`, with the parameters of its path in `request.params`.

        Raises:
            NotFound: no pattern matches the path.
            MethodNotAllowed: one does, and none that does has the method.
            MalformedRequest: a parameter cannot be decoded.
        """
        handlers = self._plain.get(request.raw_path)
        if handlers is not None and (handler := handlers.get(request.method)) is not None:
            return handler(request)
        return self._search(request)

    def _search(self, request: Request) -> Awaitable[Response]:
        decode_percent(request.raw_path)  # refuses malformed escapes, before what follows could mend them
        # RFC 3986 6.2.2.2: such an escape is the same as what it stands for.
        path = ESCAPED_UNRESERVED.sub(lambda escape: chr(int(escape[1], 16)), request.raw_path)
        allowed: set[str] = set()
        if path in self._plain:
            handlers = self._plain[path]
            if (handler := choose(handlers, request.method)) is not None:
                return handler(request)
            allowed.update(handlers)
        for pattern, handlers in self._patterns.items():
            if (match := pattern.fullmatch(path)) is not None:
                if (handler := choose(handlers, request.method)) is not None:
                    values = match.groupdict().items()
                    request.params = {name: decode_percent(value) for name, value in values}
                    return handler(request)
                allowed.update(handlers)
        if path == "*" and request.method == "OPTIONS":  # RFC 9110 9.3.7: the server as a whole
            allowed.update(*self._plain.values(), *self._patterns.values())
        if not allowed:
            raise NotFound("no such resource")
        if "GET" in allowed:
            allowed.add("HEAD")
        allow = ", ".join(sorted(allowed | {"OPTIONS"}))
        if request.method == "OPTIONS":
            return tell_options(allow)
        raise MethodNotAllowed(f"method {request.method} is not allowed here", allow)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return what matches the paths that `pattern` describes, with its parameters as groups."""
    expression = ""
    end = 0
    for parameter in PARAMETER.finditer(pattern):
        name, rest = parameter.groups()
        if rest and parameter.end() != len(pattern):
            raise ValueError(f"{{{name}:path}} is not the last of {pattern}")
        expression += re.escape(pattern[end : parameter.start()])
        expression += f"(?P<{name}>.*)" if rest else f"(?P<{name}>[^/]+)"
        end = parameter.end()
    last = pattern[end:]
    if not pattern.startswith("/") or "{" in last or "}" in last:
        raise ValueError(f"malformed pattern {pattern}")
    return re.compile(expression + re.escape(last))


def choose(handlers: dict[str, Handler], method: str) -> Handler | None:
    """Return the handler for `method`, that for GET for HEAD."""
    handler = handlers.get(method)
    return handlers.get("GET") if handler is None and method == "HEAD" else handler


async def tell_options(allow: str) -> Response:
    return Response(204, headers=(("Allow", allow),))
