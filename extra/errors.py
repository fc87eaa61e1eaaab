"""The error tree. Everything that this library raises on purpose derives from `ExtraError`.

Each class knows three things: a stable `code` that goes over the wire, whether the cause is `temporary` (the
same request may succeed later), and whether the `connection_survives`. The HTTP status, the WebSocket close
code and the like belong to the endpoints and are looked up by `code` in one table there.

Messages are written for people: lower case, no full stop, the offending name and the limit, never a payload.
"""

from typing import ClassVar

__all__ = [
    "AuthError",
    "BrokerClosed",
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelFull",
    "EngineError",
    "EngineUnavailable",
    "ExtraError",
    "Forbidden",
    "GroupConflict",
    "InvalidCommand",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidPayload",
    "InvalidTopic",
    "LimitExceeded",
    "LocalProtocolError",
    "NotDelivered",
    "PreconditionFailed",
    "ProtocolError",
    "RemoteProtocolError",
    "SessionTakenOver",
    "TopicClosed",
    "Unauthenticated",
    "UnrecoverablePosition",
]


class ExtraError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal"
    temporary: ClassVar[bool] = False
    connection_survives: ClassVar[bool] = True


class InvalidTopic(ExtraError):
    """A topic breaks MQTT 5.0 section 4.7: empty, too long, too deep, holds NUL or a wildcard."""

    code = "invalid_topic"


class InvalidFilter(ExtraError):
    """A topic filter breaks MQTT 5.0 section 4.7: as for topics, or a wildcard that is not a whole level."""

    code = "invalid_filter"


class InvalidCursor(ExtraError):
    """A cursor is not one that a broker gave out, or is ahead of this broker's log."""

    code = "invalid_cursor"


class InvalidPayload(ExtraError):
    """A payload is not what its content type says: bad JSON, bad UTF-8."""

    code = "invalid_payload"


class InvalidCommand(ExtraError):
    """A command has an unknown `op`, lacks a field, or holds one of the wrong type."""

    code = "invalid_command"


class LimitExceeded(ExtraError):
    """Something is larger, longer or more than a named setting allows; the message names the setting."""

    code = "limit_exceeded"


class ChannelClosed(ExtraError):
    """The channel is closed: nothing can be put, and nothing is left to take."""

    code = "channel_closed"


class ChannelEmpty(ExtraError):
    """The channel has no item to take just now, and the caller asked not to wait."""

    code = "channel_empty"
    temporary = True


class ChannelFull(ExtraError):
    """The channel is at its bound, and the caller asked not to wait."""

    code = "channel_full"
    temporary = True


class UnrecoverablePosition(ExtraError):
    """A subscriber has missed messages that the log no longer has. `gap` tells which (`extra.pubsub.Gap`)."""

    code = "unrecoverable_position"

    def __init__(self, detail: str, gap: object = None) -> None:
        super().__init__(detail)
        self.gap = gap


class PreconditionFailed(ExtraError):
    """A message was to be published if nothing had been published on its topic meanwhile, and something had.

    `offset` is that of the topic's last message, 0 when there is none, and `cursor` stands for it.
    """

    code = "precondition_failed"

    def __init__(self, detail: str, offset: int = 0, cursor: str = "") -> None:
        super().__init__(detail)
        self.offset = offset
        self.cursor = cursor


class TopicClosed(ExtraError):
    """The topic has had its last message; publishing with `close=False` opens it anew."""

    code = "topic_closed"


class SessionTakenOver(ExtraError):
    """Another connection has claimed this session."""

    code = "session_taken_over"
    connection_survives = False


class GroupConflict(ExtraError):
    """A member asks for another kind of group than the one that the others are in."""

    code = "group_conflict"


class NotDelivered(ExtraError):
    """A message of a group was acknowledged, or given back, by who does not hold it.

    `offsets` are those that it does not hold: of several, the others count.
    """

    code = "not_delivered"

    def __init__(self, detail: str, offsets: list[int] | None = None) -> None:
        super().__init__(detail)
        self.offsets = offsets or []


class BrokerClosed(ExtraError):
    """The broker is shutting down or not started."""

    code = "broker_closed"
    temporary = True
    connection_survives = False


class ProtocolError(ExtraError):
    """Somebody broke the rules of a protocol."""

    code = "protocol_error"
    connection_survives = False


class LocalProtocolError(ProtocolError):
    """We did: a bug on this side."""

    code = "local_protocol_error"


class RemoteProtocolError(ProtocolError):
    """The peer did. The only exception that a codec raises, whatever the bytes."""

    code = "remote_protocol_error"


class EngineError(ExtraError):
    """The engine behind the broker failed."""

    code = "engine_error"


class EngineUnavailable(EngineError):
    """The engine cannot be reached or cannot write just now: worth retrying."""

    code = "engine_unavailable"
    temporary = True


class AuthError(ExtraError):
    """Who asks may not."""

    code = "auth_error"


class Unauthenticated(AuthError):
    """Nobody has said who asks, or it could not be verified."""

    code = "unauthenticated"


class Forbidden(AuthError):
    """Who asks is known, and may not do this; or a page of a foreign origin asks."""

    code = "forbidden"
