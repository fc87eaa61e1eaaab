"""Reading commands: those of a WebSocket, and the messages of a publishing request that brings many.

Decoding is strict and never raises for what came in a frame: each bad command becomes a `Rejected` in its
place and harms no other. One command in one object, the usual frame, costs a single pass of msgspec over
it.

- JSON comes as text frames, whose UTF-8 the WebSocket codec has checked. The `data` of a command is a slice
  of the frame, checked by grammar and never rebuilt, so numbers keep all of their digits.
- msgpack is held to what JSON can say, since the same message goes to those who speak JSON: no extension
  types, keys are strings, no NaN or infinity, and `bin` only as the whole of `data`.
- A field that is null counts as left out, except `data`, where null is a payload. Of a key given twice the
  last one counts; `op` given twice with different values is refused.
"""

import json
from abc import ABC, abstractmethod
from binascii import a2b_base64
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from itertools import takewhile
from typing import Annotated, Any, Final, NoReturn, TypeAlias, TypeVar, get_args

import msgpack
import msgspec
from msgspec import Meta, Raw, Struct

from extra.errors import ExtraError, InvalidCommand, InvalidPayload, LimitExceeded
from extra.payloads import PayloadKind, classify, content_type_flaw, headers_flaw
from extra.protocols.commands import (
    ID,
    MAX_ID_BYTES,
    MAX_KEY_BYTES,
    Ack,
    Command,
    Nack,
    Offset,
    Overflow,
    Ping,
    Publish,
    Rejected,
    ReplayScope,
    Seconds,
    Subscribe,
    Unsubscribe,
)
from extra.protocols.payloads import check_json, check_payload

__all__ = [
    "decode_commands_json",
    "decode_commands_msgpack",
    "decode_publishes_json",
    "decode_publishes_lines",
    "decode_publishes_msgpack",
]

_EMPTY_LINES: Final = 1000
"""NDJSON may have so many empty lines, and one more for each message that it may have."""

_NO_LIMIT: Final = 2**62

_SHOWN_CHARACTERS: Final = 80
_ABSENT: Final = Raw()

_Time: TypeAlias = Annotated[float, Meta(ge=0, le=1e11)]
_Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_BYTES)]


def decode_commands_json(frame: bytes, limit: int = 1000) -> list[Command | Rejected]:
    """Return the commands of a text frame, in order; one of them, or an array of at most `limit`.

    An array of more is refused as a whole, as is a frame that cannot be parsed.
    """
    try:
        return [_complete(_JSON, _JSON.command(frame))]
    except (ExtraError, ValueError, RecursionError):
        return _decode(_JSON, frame, limit)


def decode_commands_msgpack(
    frame: bytes, limit: int = 1000, payload_limit_bytes: int = _NO_LIMIT
) -> list[Command | Rejected]:
    """Return the commands of a binary frame, as `decode_commands_json` does.

    `data` that is so large that no JSON of `payload_limit_bytes` can come of it is refused as it stands.
    """
    form = _msgpack_format(payload_limit_bytes)
    try:
        return [_complete(form, form.command(frame))]
    except (ExtraError, ValueError, RecursionError):
        return _decode(form, frame, limit)


def decode_publishes_json(body: bytes, limit: int) -> list[Publish | Rejected]:
    """Return the messages of a JSON array, or the one of an object: the fields of `publish`, `op` left out.

    Raises:
        InvalidCommand: the body is neither, or cannot be parsed.
        LimitExceeded: there are more than `limit`.
    """
    _check_utf8(body)
    return _publishes(_JSON, body, limit)


def decode_publishes_msgpack(
    body: bytes, limit: int, payload_limit_bytes: int = _NO_LIMIT
) -> list[Publish | Rejected]:
    """Return the messages of a msgpack array, or the one of a map, as `decode_publishes_json` does.

    `payload_limit_bytes` is for `data`, as in `decode_commands_msgpack`.
    """
    return _publishes(_msgpack_format(payload_limit_bytes), body, limit)


def decode_publishes_lines(body: bytes, limit: int) -> list[Publish | Rejected]:
    """Return the messages of NDJSON, one a line; empty lines are skipped, in reason.

    Raises:
        InvalidCommand: a line is not an object that can be parsed.
        LimitExceeded: there are more than `limit`.
    """
    _check_utf8(body)
    publishes: list[Publish | Rejected] = []
    for number, line in enumerate(BytesIO(body), 1):
        if number > 2 * limit + _EMPTY_LINES:
            raise LimitExceeded(_too_many_messages(limit))
        if line.isspace():
            continue
        if len(publishes) == limit:
            raise LimitExceeded(_too_many_messages(limit))
        try:
            _JSON.head(line)
        except (ValueError, RecursionError) as error:
            raise InvalidCommand(f"line {number}: {_explain(error)}") from None
        publishes.append(_publish_or_rejected(_JSON, line))
    return publishes


class _Publish(Struct, tag="publish", tag_field="op"):
    """`publish` as it stands in a frame."""

    topic: str
    id: ID = None
    data: Raw = _ABSENT
    data_base64: str | None = None
    retain: bool | None = None
    ttl: Seconds | None = None
    key: _Key | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    if_last: Offset | None = None
    close: bool | None = None
    deliver_at: _Time | None = None


class _Close(_Publish, tag="close", tag_field="op"):
    """`publish` with `close` true, and `data` that may be left out: then the message is an empty text."""


_Wire: TypeAlias = Subscribe | Unsubscribe | _Publish | _Close | Ack | Nack | Ping

_OPS: Final = ("subscribe", "unsubscribe", "publish", "close", "ack", "nack", "ping")

_CHOICES: Final = {"overflow": get_args(Overflow), "replay": get_args(ReplayScope)}

_MSGPACK_BIN: Final = (0xC4, 0xC5, 0xC6)

_write_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""Not msgspec's: that one writes NaN as null, and bytes in base64."""

_T = TypeVar("_T")
_Decode: TypeAlias = Callable[[bytes | Raw], _T]


class _Head(Struct):
    """What is looked for in an object that is no command."""

    op: Raw = _ABSENT
    id: Raw = _ABSENT


class _Format(ABC):
    """What differs between JSON and msgpack. Its decoders raise ValueError or RecursionError."""

    def __init__(self, decoder: Callable[[Any], Any]) -> None:  # the two formats' decoders share no class
        self.decoder = decoder
        self.command: _Decode[_Wire] = decoder(_Wire).decode
        self.publish: _Decode[_Publish] = decoder(_Publish).decode
        self.head: _Decode[_Head] = decoder(_Head).decode
        self.id: _Decode[str | int | None] = decoder(ID).decode
        self.text: _Decode[str] = decoder(str).decode

    def elements(self, frame: bytes, limit: int) -> list[Raw]:
        """Return the elements of an array, `limit` + 1 at most; the grammar of the others is checked.

        Raises:
            msgspec.ValidationError: the frame holds something else than an array.
        """
        array = _array_decoder(self.decoder, limit + 1)(frame)
        return list(takewhile(lambda element: element is not _ABSENT, msgspec.structs.astuple(array)))

    @abstractmethod
    def as_bytes(self, data: Raw) -> bytes | None:
        """Return the bytes that `data` is, or None if it is something else."""

    @abstractmethod
    def as_json(self, data: Raw) -> bytes:
        """Return `data` written in JSON. Raises InvalidPayload."""


class _JSONFormat(_Format):
    def as_bytes(self, data: Raw) -> bytes | None:
        return None

    def as_json(self, data: Raw) -> bytes:
        payload = bytes(data)  # a copy, so that the message does not keep the whole frame
        check_json(payload)
        return payload


class _MsgpackFormat(_Format):
    def __init__(self, payload_limit_bytes: int) -> None:
        super().__init__(msgspec.msgpack.Decoder)
        # A float of 64 bits shrinks most: 9 bytes, `0.0,` in JSON. Other values grow, up to six times.
        self.data_limit_bytes = payload_limit_bytes * 9 // 4

    def as_bytes(self, data: Raw) -> bytes | None:
        return msgspec.msgpack.decode(data, type=bytes) if memoryview(data)[0] in _MSGPACK_BIN else None

    def as_json(self, data: Raw) -> bytes:
        size = len(memoryview(data))
        if size > self.data_limit_bytes:
            raise LimitExceeded(
                f"data of {size:,} bytes in msgpack, at most {self.data_limit_bytes:,}: "
                "more JSON than broker.max_payload_bytes would come of it"
            )
        try:
            value = msgpack.unpackb(memoryview(data), strict_map_key=True, ext_hook=_refuse_extension)
            payload = _write_json(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            flaw = _explain(error) or "nested too deeply"  # msgpack.StackError comes without a text
            raise InvalidPayload(f"data is not what JSON can hold: {flaw}") from None
        check_json(payload)
        return payload


@lru_cache(maxsize=8)
def _array_decoder(decoder: Callable[[type], Any], length: int) -> "_Decode[Struct]":
    """Return a decoder of arrays that makes `length` elements and skips those after them.

    A hostile frame of 2 MiB, `[0,0,...]`, takes it 4 ms and next to no memory; as a `list[Raw]` 60 ms and
    74 MiB.
    """
    fields: list[tuple[str, type, Raw]] = [(f"_{number}", Raw, _ABSENT) for number in range(length)]
    decode: _Decode[Struct] = decoder(msgspec.defstruct("Array", fields, array_like=True)).decode
    return decode


_JSON: Final = _JSONFormat(msgspec.json.Decoder)
_msgpack_format: Final = lru_cache(maxsize=8)(_MsgpackFormat)


def _decode(form: _Format, frame: bytes, limit: int) -> list[Command | Rejected]:
    """Decode what is not one good command: an array, or one bad command."""
    elements: list[Raw] | list[bytes]
    try:
        elements = form.elements(frame, limit)
    except msgspec.ValidationError:
        elements = [frame]
    except (ValueError, RecursionError) as error:
        return [Rejected(None, InvalidCommand.code, _explain(error))]
    if len(elements) > limit:
        message = f"frame holds more than {limit} commands (websocket.commands_limit)"
        return [Rejected(None, LimitExceeded.code, message)]
    return [_command_or_rejected(form, element) for element in elements]


def _command_or_rejected(form: _Format, element: Raw | bytes) -> Command | Rejected:
    try:
        return _complete(form, form.command(element))
    except (ExtraError, ValueError, RecursionError) as error:
        return _reject(form, element, error)


def _publishes(form: _Format, body: bytes, limit: int) -> list[Publish | Rejected]:
    elements: list[Raw] | list[bytes]
    try:
        elements = form.elements(body, limit)
    except (ValueError, RecursionError) as error:
        try:
            form.head(body)
        except (ValueError, RecursionError):
            raise InvalidCommand(_explain(error)) from None
        elements = [body]
    if len(elements) > limit:
        raise LimitExceeded(_too_many_messages(limit))
    return [_publish_or_rejected(form, element) for element in elements]


def _publish_or_rejected(form: _Format, element: Raw | bytes) -> Publish | Rejected:
    try:
        return _publish(form, form.publish(element))
    except (ExtraError, ValueError, RecursionError) as error:
        return _reject(form, element, error)


def _complete(form: _Format, command: _Wire) -> Command:
    """Check what types cannot say, and make a `Publish` of what stands in the frame."""
    if command.id is not None:
        _check_id(command.id)
    if isinstance(command, _Publish):
        return _publish(form, command)
    if isinstance(command, (Ack, Nack)):
        _check_settling(command)
    elif isinstance(command, Unsubscribe) and (command.filter is None) == (command.group is None):
        flaw = "object missing required field filter" if command.filter is None else "either filter or group"
        raise InvalidCommand(f"unsubscribe: {flaw}")
    return command


def _check_settling(command: Ack | Nack) -> None:
    name = "ack" if isinstance(command, Ack) else "nack"
    if command.group is None:
        if command.offset is None or command.offsets is not None:
            is_missing = command.offset is None and command.offsets is None
            flaw = "object missing required field offset" if is_missing else "offsets: only with group"
            raise InvalidCommand(f"ack: {flaw}")
    elif (command.offset is None) == (command.offsets is None):
        raise InvalidCommand(f"{name}: either offset or offsets")


def _check_id(identifier: str | int) -> None:
    if isinstance(identifier, str) and not identifier.isascii() and len(identifier.encode()) > MAX_ID_BYTES:
        raise InvalidCommand(f"id: longer than {MAX_ID_BYTES} bytes")


def _publish(form: _Format, publish: _Publish) -> Publish:
    payload: bytes | None
    kind: PayloadKind
    is_close = isinstance(publish, _Close)
    if is_close and publish.data is _ABSENT and publish.data_base64 is None:
        payload, kind = b"", "text"
    elif publish.content_type is None and publish.data is not _ABSENT and publish.data_base64 is None:
        payload, kind = form.as_bytes(publish.data), "binary"
        if payload is None:
            payload, kind = form.as_json(publish.data), "json"
    else:
        if publish.content_type is not None and (flaw := content_type_flaw(publish.content_type)):
            raise InvalidCommand(flaw)
        payload, kind = _payload(form, publish)
    if publish.headers is not None and (flaw := headers_flaw(publish.headers)):
        raise LimitExceeded(flaw)
    if publish.key is not None and len(publish.key.encode()) > MAX_KEY_BYTES:
        raise InvalidCommand(f"key: longer than {MAX_KEY_BYTES} bytes")
    return Publish(
        publish.topic,
        payload,
        kind,
        publish.id,
        publish.retain is True,
        publish.ttl,
        publish.key,
        publish.content_type,
        publish.headers,
        publish.if_last,
        True if is_close else publish.close,
        publish.deliver_at,
    )


def _payload(form: _Format, publish: _Publish) -> tuple[bytes, PayloadKind]:
    """Return the payload and its kind, which the content type decides where there is one.

    Bytes are binary by default and anything else is JSON. A string whose content type is not JSON is the
    text, or the bytes, of a payload of that type.
    """
    content_type = publish.content_type
    payload: bytes | None
    if publish.data is _ABSENT:
        if publish.data_base64 is None:
            raise InvalidCommand("publish: neither data nor data_base64")
        payload = _from_base64(publish.data_base64)
    elif publish.data_base64 is not None:
        raise InvalidCommand("publish: both data and data_base64")
    else:
        payload = form.as_bytes(publish.data)
    if payload is None:
        kind: PayloadKind = "json" if content_type is None else classify(content_type)
        if kind == "json":
            return form.as_json(publish.data), kind
        try:
            return form.text(publish.data).encode(), kind
        except msgspec.ValidationError:
            raise InvalidPayload(f"data has to be a string where content_type is {content_type!r}") from None
    kind = "binary" if content_type is None else classify(content_type)
    check_payload(payload, kind)
    return payload, kind


def _from_base64(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidPayload("data_base64 is not base64 (RFC 4648 section 4, with padding)") from None


def _check_utf8(body: bytes) -> None:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidCommand(_explain(error)) from None


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


def _reject(form: _Format, element: Raw | bytes, error: Exception) -> Rejected:
    """Say what is wrong, with the command's id if that can be found."""
    identifier: str | int | None = None
    op = ""
    try:
        head = form.head(element)
    except (ValueError, RecursionError):
        return Rejected(None, InvalidCommand.code, _explain(error))
    try:
        if head.id is not _ABSENT:
            identifier = form.id(head.id)
        if identifier is not None:
            _check_id(identifier)
    except (ExtraError, ValueError):
        identifier = None
    try:
        if head.op is not _ABSENT:
            op = form.text(head.op)
            if op not in _OPS:
                error = InvalidCommand(f"unknown op {_shown(op)!r}")
    except ValueError:
        error = InvalidCommand("op: not a string")
    if isinstance(error, ExtraError):
        return Rejected(identifier, error.code, str(error))
    return Rejected(identifier, InvalidCommand.code, f"{op}: {_explain(error)}" if op else _explain(error))


def _explain(error: Exception) -> str:
    """Say in our own words what msgspec has against some input; short, whatever the input."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason}"
    flaw, _, place = str(error).replace("`", "").partition(" - at ")
    field = place.replace("$.", "").removeprefix("$")
    if field in _CHOICES:
        return f"{field}: not one of {', '.join(_CHOICES[field])}"
    if not flaw.startswith(("JSON", "MessagePack")):
        flaw = flaw[:1].lower() + flaw[1:]
    return f"{field}: {_shown(flaw)}" if field else _shown(flaw)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _too_many_messages(limit: int) -> str:
    return f"request holds more than {limit} messages (broker.batch_limit_messages)"
