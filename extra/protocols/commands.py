"""Commands: what a client sends on a WebSocket. decoding.py and encoding.py have the bytes.

A field that is null counts as left out.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from extra.payloads import PayloadKind

__all__ = [
    "ID",
    "MAX_ID_BYTES",
    "MAX_KEY_BYTES",
    "Ack",
    "Command",
    "Nack",
    "Offset",
    "Overflow",
    "Ping",
    "Publish",
    "Rejected",
    "ReplayScope",
    "Seconds",
    "Subscribe",
    "Unsubscribe",
]

MAX_ID_BYTES: Final = 64
MAX_KEY_BYTES: Final = 255

Overflow: TypeAlias = Literal["disconnect", "drop-oldest", "latest"]
ReplayScope: TypeAlias = Literal["missing", "all"]

ID: TypeAlias = (
    Annotated[str, Meta(max_length=MAX_ID_BYTES)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None
)
_Filter: TypeAlias = str | Annotated[list[str], Meta(min_length=1)]
Offset: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Offsets: TypeAlias = Annotated[list[Offset], Meta(min_length=1)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]


class Subscribe(Struct, tag="subscribe", tag_field="op", omit_defaults=True):
    """Asks for what the filter matches, or any of the filters. None is what was left out."""

    filter: _Filter
    id: ID = None
    since: str | None = None
    overflow: Overflow | None = None
    retained: bool | None = None
    replay: ReplayScope | None = None
    presence: Any = None  # whatever JSON holds
    member: str | None = None
    session: str | None = None
    ack: bool | None = None
    expires: Seconds | None = None
    group: str | None = None
    ack_wait: float | None = None
    max_unacknowledged: int | None = None
    max_deliveries: int | None = None
    dead_letters: str | None = None
    order: str | None = None

    @property
    def filters(self) -> list[str]:
        """The filters, as a list even if there is one."""
        return _listed(self.filter)


class Unsubscribe(Struct, tag="unsubscribe", tag_field="op", omit_defaults=True):
    """Ends what was asked for with the same filter or filters, or leaves a group."""

    filter: _Filter | None = None
    id: ID = None
    group: str | None = None

    @property
    def filters(self) -> list[str]:
        """The filters, as a list even if there is one; empty when it is a group that is left."""
        return [] if self.filter is None else _listed(self.filter)


class Publish(Struct):
    """Publishes a message. `payload` has been checked to be of `kind`; its bytes are nobody else's.

    In a frame it stands as `data` or `data_base64`: `_Publish` in decoding.py and `_publish_fields` in
    encoding.py.
    """

    topic: str
    payload: bytes
    kind: PayloadKind = "json"
    id: str | int | None = None
    retain: bool = False
    ttl: float | None = None
    key: str | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    if_last: int | None = None
    close: bool | None = None
    deliver_at: float | None = None


class Ack(Struct, tag="ack", tag_field="op", omit_defaults=True):
    """Says that everything up to `offset` has been worked on; of a group, that message or those messages."""

    offset: Offset | None = None
    id: ID = None
    group: str | None = None
    offsets: _Offsets | None = None

    @property
    def settled(self) -> list[int]:
        """The offsets, as a list even if there is one."""
        return _offsets(self.offset, self.offsets)


class Nack(Struct, tag="nack", tag_field="op", omit_defaults=True):
    """Gives messages of a group back, to be handed out again after `delay` seconds."""

    group: str
    offset: Offset | None = None
    id: ID = None
    offsets: _Offsets | None = None
    delay: float | None = None

    @property
    def settled(self) -> list[int]:
        """The offsets, as a list even if there is one."""
        return _offsets(self.offset, self.offsets)


class Ping(Struct, tag="ping", tag_field="op", omit_defaults=True):
    """Asks for a `pong`."""

    id: ID = None


Command: TypeAlias = Subscribe | Unsubscribe | Publish | Ack | Nack | Ping


class Rejected(Struct, frozen=True):
    """A command that cannot be run, and why. `id` is the command's own where it could be read."""

    id: str | int | None
    code: str
    message: str


def _listed(topic_filter: str | list[str]) -> list[str]:
    return [topic_filter] if isinstance(topic_filter, str) else topic_filter


def _offsets(offset: int | None, offsets: list[int] | None) -> list[int]:
    return offsets if offsets is not None else [] if offset is None else [offset]
