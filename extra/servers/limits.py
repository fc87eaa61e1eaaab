"""What one server and one connection may cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds in bytes, counts and seconds. Deadlines are looked at once a second: they are kept to that."""

    connections_limit: int = 100_000
    """Connections of all kinds; those beyond are answered 503."""

    head_limit_bytes: int = 32_768
    """The target and all header fields of one request."""

    headers_limit: int = 100
    """The number of header fields of one request."""

    body_limit_bytes: int = 8 * 1024 * 1024
    """A body that a handler takes whole, unless it says otherwise."""

    receive_limit_bytes: int = 256 * 1024 * 1024
    """What all connections together may have received and not got rid of: unfinished heads, bodies and
    messages. A connection that makes it more is answered 503, or closed with 1013."""

    pipeline_limit: int = 16
    """Requests of one connection that are answered in one turn of the event loop, one after another."""

    write_high_water_bytes: int = 65_536
    """What may lie unsent in a connection before its writers are told to wait."""

    head_timeout_s: float = 10.0
    """From the first byte of a request, or from the opening of the connection, to the end of its head."""

    body_timeout_s: float = 30.0
    """For a body to arrive, or a message on a WebSocket. Each 16 KiB that arrive give it a second more, up to
    this much from then."""

    idle_timeout_s: float = 75.0
    """Between one request and the next."""

    write_timeout_s: float = 30.0
    """How long a peer may take nothing of what is there for it before its connection is aborted."""

    ping_interval_s: float = 25.0
    """Silence on a WebSocket after which its peer is pinged; 0 is never."""

    ping_timeout_s: float = 20.0
    """How long a WebSocket's peer may leave a ping unanswered."""

    close_timeout_s: float = 2.0
    """How long the peer of a connection that has been closed from this side is waited for."""

    frame_limit_bytes: int = 0
    """A frame and a message on a WebSocket, whatever its response says; 0 leaves that to the response."""

    names: Mapping[str, str] = field(default_factory=dict)
    """What messages call limits that are known by other names than these, such as those of settings."""

    def named(self, limit: str) -> str:
        """Return what messages call the limit that is called `limit` here."""
        return self.names.get(limit, limit)
