"""What the connections of one server have in common."""

import logging
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop, Event, TaskGroup
from collections.abc import Callable
from contextvars import copy_context
from email.utils import formatdate
from time import perf_counter
from typing import Final, TypeAlias, final

from mypy_extensions import mypyc_attr

from extra.errors import ExtraError, LocalProtocolError
from extra.http import (
    Application,
    AtOnce,
    Begin,
    ErrorResponse,
    Headers,
    Request,
    Response,
    ResponseCut,
    begin_of,
)
from extra.protocols.http1 import response_head
from extra.servers.counters import Counters
from extra.servers.limits import ServerLimits

__all__ = ["AccessLog", "Connection", "ServerContext"]

logger: Final = logging.getLogger("extra.servers")

AccessLog: TypeAlias = Callable[[Request, int, int, float], None]
"""Called for each answer: with the request, the status, the bytes of the body, and the seconds it took."""


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Connection(ABC):
    """A connection as its server sees it."""

    __slots__ = ()

    @abstractmethod
    def check(self, now: float) -> None:
        """Look whether a deadline has passed. Called about once a second."""

    @abstractmethod
    def retire(self) -> None:
        """End as soon as nothing is under way: the server takes no new requests."""

    @abstractmethod
    def abort(self) -> None:
        """End now, and drop what has not been sent."""


@final
@mypyc_attr(native_class=True)
class ServerContext:
    """Settings, collaborators and the table of connections, of one server."""

    def __init__(
        self,
        application: Begin,
        *,
        error_response: ErrorResponse,
        limits: ServerLimits,
        counters: Counters,
        tasks: TaskGroup,
        loop: AbstractEventLoop,
        server_name: str,
        access_log: AccessLog | None,
        headers: Headers = (),
        dated: bool = True,
    ) -> None:
        self.begin = begin_of(application)
        self.at_once: AtOnce | None = application.at_once if isinstance(application, Application) else None
        self.error_response = error_response
        self.limits = limits
        self.counters = counters
        self.tasks = tasks
        self.loop = loop
        self.access_log = access_log
        self.clock: Callable[[], float] = loop.time
        self.stopwatch: Callable[[], float] = perf_counter  # uvloop's clock stands still within a turn
        self.connections: set[Connection] = set()
        self.changed = Event()  # a connection has ended
        self.draining = False  # responses say that their connection ends
        self.background = copy_context()  # what a request starts from: nothing of the one before it
        # The last head that `usual_head` has made, and what of.
        self._status = 0
        self._content_type: str | None = None
        self._size = 0
        self._head = b""
        self._dated = dated
        self._more_lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        if server_name:
            self._more_lines = f"Server: {server_name}\r\n{self._more_lines}"
        self.common_lines = ""
        self.renew_date()

    def renew_date(self, unix_time: float | None = None) -> None:
        """Let `common_lines`, the end of each response's head, say what time it is; None asks the clock."""
        date = f"Date: {formatdate(unix_time, usegmt=True)}\r\n" if self._dated else ""
        self.common_lines = date + self._more_lines
        self._status = 0

    def usual_head(self, status: int, content_type: str | None, size: int) -> bytes:
        """Return the head of a response with a body of `size` bytes, to HTTP/1.1, and nothing special.

        Those repeat. Raises as `response_head` does.
        """
        if status == self._status and size == self._size and content_type == self._content_type:
            return self._head
        fields = () if content_type is None else (("Content-Type", content_type),)
        self._head = response_head(status, fields, f"Content-Length: {size}\r\n{self.common_lines}")
        self._status, self._size, self._content_type = status, size, content_type
        return self._head

    def failure(self, error: Exception, request: Request) -> Response:
        """Return the response to what the handler of `request` has raised. Bugs are logged."""
        if not isinstance(error, ExtraError) or isinstance(error, LocalProtocolError):
            self.log_failure(error, request)
        return self.error_response(error)

    def log_failure(self, error: Exception, request: Request) -> None:
        """Log and count what the handler of `request` has raised, be it a header that cannot be sent."""
        if isinstance(error, ResponseCut):
            logger.warning("%s %s: cut: %s", request.method, request.raw_path, error)
            return
        self.counters.handler_failures += 1
        logger.error("%s %s: a handler has failed", request.method, request.raw_path, exc_info=error)
