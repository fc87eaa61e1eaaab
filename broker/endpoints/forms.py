"""The wire forms: how a message and a gap look on each face.

Each is made once per message and shared by all. The last message of a topic has the notice of the end behind
it in its own bytes, so that the end comes right after it for everybody, whether live, in a replay or after a
drop, without that anything is done for it anywhere else.
"""

from abc import abstractmethod
from base64 import b64encode
from typing import Final

from mypy_extensions import mypyc_attr

from extra.protocols.encoding import encode_json, encode_msgpack
from extra.protocols.envelope import message_json, message_msgpack, shared_json, shared_msgpack
from extra.protocols.pushes import EndPush, GapPush
from extra.protocols.sse import event
from extra.protocols.websocket import BINARY, TEXT, deflated_frame, server_frame
from extra.pubsub import FrameCache, Gap, Message, WireForm

__all__ = [
    "Envelope",
    "EventForm",
    "Forms",
    "Frame",
    "MsgpackEnvelope",
    "RawEventForm",
    "SharedForm",
    "end_event",
]

FRAME_CACHE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""So many bytes of encoded messages are kept: what is fanned out now, and what those who resume ask for."""


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class SharedForm(WireForm):
    """A form in which messages go to members of groups, too: to one each, so that nothing is kept of it."""

    @abstractmethod
    def encode_shared(self, message: Message, group: str, deliveries: int) -> bytes:
        """Return a message as it is handed to a member for the `deliveries`th time."""

    @abstractmethod
    def encode_shared_gap(self, gap: Gap, group: str) -> bytes:
        """Return the notice of a gap that a group has come upon."""


class Envelope(SharedForm):
    """The envelope in JSON, for reads and as what the other JSON forms wrap."""

    def encode(self, message: Message) -> bytes:
        return message_json(
            message.topic,
            message.offset,
            message.payload,
            message.kind,
            message.content_type,
            message.headers,
            message.expires_at or None,
            message.retained,
        )

    def encode_gap(self, gap: Gap) -> bytes:
        return encode_json(push_of(gap))

    def encode_shared(self, message: Message, group: str, deliveries: int) -> bytes:
        return shared_json(self.encode(message), group, deliveries)

    def encode_shared_gap(self, gap: Gap, group: str) -> bytes:
        return encode_json(push_of(gap, group))


class MsgpackEnvelope(SharedForm):
    """The envelope in msgpack."""

    def encode(self, message: Message) -> bytes:
        return message_msgpack(
            message.topic,
            message.offset,
            message.payload,
            message.kind,
            message.content_type,
            message.headers,
            message.expires_at or None,
            message.retained,
        )

    def encode_gap(self, gap: Gap) -> bytes:
        return encode_msgpack(push_of(gap))

    def encode_shared(self, message: Message, group: str, deliveries: int) -> bytes:
        return shared_msgpack(self.encode(message), group, deliveries)

    def encode_shared_gap(self, gap: Gap, group: str) -> bytes:
        return encode_msgpack(push_of(gap, group))


class Frame(SharedForm):
    """A WebSocket frame around an envelope: text for JSON, binary for msgpack, deflated if agreed upon."""

    def __init__(
        self, index: int, cache: FrameCache, envelope: SharedForm, opcode: int, *, deflate: bool = False
    ) -> None:
        super().__init__(index, cache)
        self.envelope = envelope
        self.opcode = opcode
        self.write = deflated_frame if deflate else server_frame

    def encode(self, message: Message) -> bytes:
        frame = self.write(self.opcode, self.envelope.encode(message))
        if message.close:
            frame += self.write(self.opcode, self.encode_end(message.topic, message.offset, message.cursor))
        return frame

    def encode_end(self, topic: str, offset: int, cursor: str) -> bytes:
        """Return the push that tells of an end."""
        end = EndPush(topic=topic, offset=offset, cursor=cursor)
        return encode_msgpack(end) if self.opcode == BINARY else encode_json(end)

    def encode_gap(self, gap: Gap) -> bytes:
        return self.write(self.opcode, self.envelope.encode_gap(gap))

    def encode_shared(self, message: Message, group: str, deliveries: int) -> bytes:
        return self.write(self.opcode, self.envelope.encode_shared(message, group, deliveries))

    def encode_shared_gap(self, gap: Gap, group: str) -> bytes:
        return self.write(self.opcode, self.envelope.encode_shared_gap(gap, group))


class EventForm(SharedForm):
    """A server-sent event: the JSON envelope as data, the cursor as id."""

    def __init__(self, index: int, cache: FrameCache, envelope: SharedForm) -> None:
        super().__init__(index, cache)
        self.envelope = envelope

    def encode(self, message: Message) -> bytes:
        return self.with_end(event(self.envelope.encode(message), id=message.cursor), message)

    def with_end(self, written: bytes, message: Message) -> bytes:
        """Return an event, with that of the end behind it where the message is the last of its topic."""
        if message.close:
            written += end_event(message.topic, message.offset, message.cursor)
        return written

    def encode_gap(self, gap: Gap) -> bytes:
        return event(self.envelope.encode_gap(gap), event="gap", id=gap.cursor or None)

    def encode_shared(self, message: Message, group: str, deliveries: int) -> bytes:
        return event(self.envelope.encode_shared(message, group, deliveries))

    def encode_shared_gap(self, gap: Gap, group: str) -> bytes:
        return event(self.envelope.encode_shared_gap(gap, group), event="gap")


class RawEventForm(EventForm):
    """A server-sent event with the payload alone: base64 when it is neither JSON nor text."""

    def encode(self, message: Message) -> bytes:
        return self.with_end(event(raw_payload(message), id=message.cursor), message)


class RetainedEventForm(EventForm):
    """An event without an id: a retained message is older than where its reader stands, and stays."""

    def encode(self, message: Message) -> bytes:
        return event(self.envelope.encode(message))


class RawRetainedEventForm(EventForm):
    """The same, with the payload alone."""

    def encode(self, message: Message) -> bytes:
        return event(raw_payload(message))


class Forms:
    """The forms of one broker, which share one cache."""

    def __init__(self, cache_limit_bytes: int = FRAME_CACHE_LIMIT_BYTES) -> None:
        self.cache = FrameCache(cache_limit_bytes)
        self.envelope = Envelope(0, self.cache)
        self.msgpack_envelope = MsgpackEnvelope(1, self.cache)
        self.text_frame = Frame(2, self.cache, self.envelope, TEXT)
        self.binary_frame = Frame(3, self.cache, self.msgpack_envelope, BINARY)
        self.deflated_text_frame = Frame(6, self.cache, self.envelope, TEXT, deflate=True)
        self.deflated_binary_frame = Frame(7, self.cache, self.msgpack_envelope, BINARY, deflate=True)
        self.event = EventForm(4, self.cache, self.envelope)
        self.raw_event = RawEventForm(5, self.cache, self.envelope)
        self.retained_event = RetainedEventForm(8, self.cache, self.envelope)
        self.raw_retained_event = RawRetainedEventForm(9, self.cache, self.envelope)


def raw_payload(message: Message) -> bytes:
    """Return a payload as text: base64 when it is neither JSON nor text."""
    return message.payload if message.kind != "binary" else b64encode(message.payload)


def end_event(topic: str, offset: int, cursor: str) -> bytes:
    """Return the event that tells that a topic has had its last message."""
    return event(encode_json(EndPush(topic=topic, offset=offset, cursor=cursor)), event="end", id=cursor)


def push_of(gap: Gap, group: str | None = None) -> GapPush:
    """Return the push that tells of a gap, to a member of `group` if one is named."""
    return GapPush(
        after=gap.after,
        until=gap.until,
        reason=gap.reason,
        filter=gap.filter,
        dropped=gap.dropped,
        group=group,
    )
