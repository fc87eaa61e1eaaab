"""What a server counts, for whoever makes metrics of it."""

from collections import defaultdict
from typing import final

from mypy_extensions import mypyc_attr

__all__ = ["Counters"]


@final
@mypyc_attr(native_class=True)
class Counters:
    """Plain numbers, changed by the connections of one server. Those named `..._now` go up and down."""

    __slots__ = (
        "accepted",
        "bytes_received",
        "bytes_sent",
        "handler_failures",
        "http_connections_now",
        "protocol_errors",
        "refused",
        "requests",
        "streams_now",
        "timeouts",
        "websockets_now",
    )

    def __init__(self) -> None:
        self.accepted = 0  # connections
        self.refused = 0  # connections beyond `connections_limit`
        self.http_connections_now = 0
        self.streams_now = 0
        self.websockets_now = 0
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        """Answers, by method and status; the method is empty for what was no request."""
        self.protocol_errors = 0  # of peers: malformed requests and frames
        self.handler_failures = 0  # exceptions that were answered with 500, or closed a WebSocket with 1011
        self.timeouts = 0  # connections that were ended for a deadline, other than that between requests
        self.bytes_received = 0
        self.bytes_sent = 0  # or lost with their connection; brought up to date once a second
