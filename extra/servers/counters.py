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
        "buffered_bytes_now",
        "bytes_received",
        "bytes_sent",
        "handler_failures",
        "http_connections_now",
        "limits_met",
        "protocol_errors",
        "refused",
        "requests",
        "streams_now",
        "timeouts",
        "unsent_bytes_now",
        "websockets_now",
    )

    def __init__(self) -> None:
        self.accepted = 0  # connections
        self.refused = 0  # connections beyond `connections_limit`
        self.http_connections_now = 0
        self.streams_now = 0
        self.websockets_now = 0
        self.buffered_bytes_now = 0  # received by all connections, and not got rid of
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        """Answers, by method and status; the method is empty for what was no request."""
        self.protocol_errors = 0  # of peers: malformed requests and frames
        self.handler_failures = 0  # exceptions that were answered with 500, or closed a WebSocket with 1011
        self.timeouts: defaultdict[str, int] = defaultdict(int)
        """Connections that were ended for a deadline, by what messages call it."""
        self.limits_met: defaultdict[str, int] = defaultdict(int)
        """How often a limit ended something, or made it wait, without an answer, by what messages call it."""
        self.bytes_received = 0
        self.unsent_bytes_now = 0  # written, and not taken by the peers; brought up to date once a second
        self.bytes_sent = 0  # or lost with their connection; brought up to date once a second
