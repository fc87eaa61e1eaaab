"""Messages as rows: what stands in which column, and the checksum over all of it.

SQLite itself does not notice a bit that has changed in a payload. Each row therefore bears a CRC-32 over all
of its columns, which is verified when the row is read: a file is read as it was written, or refused.
"""

import json
from binascii import crc32
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception, under a name that says of what
from typing import Any, Final, TypeAlias

from extra.errors import InvalidCommand, LimitExceeded
from extra.payloads import PayloadKind
from extra.pubsub import Message

__all__ = [
    "MESSAGE_COLUMNS",
    "RETAINED_COLUMNS",
    "ROW_LIMIT_BYTES",
    "Row",
    "Value",
    "check_storable",
    "damage_of",
    "message_of",
    "state_checksum",
    "state_damage",
    "topic_checksum",
    "values_of",
]

ROW_LIMIT_BYTES: Final = 900_000_000
"""SQLite takes rows of up to 1,000,000,000 bytes."""

Value: TypeAlias = "int | float | str | bytes | None"

Row: TypeAlias = tuple[Any, ...]  # Any: whatever a damaged file holds
"""Offset, where (the number of a topic, or its name), time, expiry, kind, content type, headers, retained,
checksum, payload.
"""

_COMMON: Final = "time, expires_at, kind, content_type, headers, retained, checksum, payload"
MESSAGE_COLUMNS: Final = f"offset, topic_id, {_COMMON}"
RETAINED_COLUMNS: Final = f"offset, topic, {_COMMON}"

RETAINED: Final = 1
CLOSES: Final = 8
"""The bits in the column `retained`: what `_FLAGS` leaves free."""

_FIXED: Final = Struct("<qqddB")
_FLAGS: Final[dict[PayloadKind, int]] = {"json": 0, "text": 2, "binary": 4}


def values_of(message: Message, offset: int, where: int | str, time: float) -> tuple[Value, ...]:
    """Return the row of a message that is to get this place."""
    headers = None if message.headers is None else json.dumps(message.headers, separators=(",", ":"))
    content_type = message.content_type
    kind, payload, expires_at = message.kind, message.payload, message.expires_at
    retained = (RETAINED if message.retained else 0) + (CLOSES if message.close is True else 0)
    checksum = _checksum(offset, where, time, expires_at, kind, content_type, headers, retained, payload)
    return (offset, where, time, expires_at, kind, content_type, headers, retained, checksum, payload)


def damage_of(row: Row) -> str:
    """Return what is wrong with a row that was read; empty when it is as it was written."""
    try:
        found = _checksum(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[9])
        if found == row[8]:
            return ""
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, StructError) as error:
        return f"the message at offset {row[0]} makes no sense ({type(error).__name__})"
    return f"the message at offset {row[0]} is not what was written (its checksum is wrong)"


def message_of(row: Row, topic: str) -> Message:
    """Return the message of a row that has no damage, without its place."""
    _, _, _, expires_at, kind, content_type, headers, retained, _, payload = row
    return Message(
        topic,
        payload,
        kind,
        content_type=content_type,
        headers=None if headers is None else json.loads(headers),
        expires_at=expires_at,
        retained=(retained & RETAINED) != 0,
        close=True if retained & CLOSES else None,
    )


def topic_checksum(number: int, name: str, evicted_until: int) -> int:
    """Return the checksum of a topic's row."""
    return crc32(name.encode(), crc32(_FIXED.pack(number, evicted_until, 0.0, 0.0, 0)))


def state_checksum(kind: str, name: str, value: bytes) -> int:
    """Return the checksum of a state's row."""
    return crc32(value, crc32(repr((kind, name)).encode()))


def state_damage(kind: object, name: object, value: object, checksum: object) -> str:
    """Return what is wrong with a state's row; empty when it is as it was written."""
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(value, bytes)):
        return f"{str(kind)[:80]} {str(name)[:80]!r} makes no sense"
    if state_checksum(kind, name, value) == checksum:
        return ""
    return f"{kind[:80]} {name[:80]!r} is not what was written (its checksum is wrong)"


def check_storable(message: Message) -> None:
    """Raise what keeps a message from being a row, rather than let it fail all that is written with it.

    Raises:
        InvalidCommand: its content type is no text.
        LimitExceeded: it is larger than a row can be.
    """
    content_type = message.content_type
    if content_type is not None and not content_type.isascii():
        try:
            content_type.encode()
        except UnicodeEncodeError:
            raise InvalidCommand(f"content_type {content_type[:80]!r} cannot be written as UTF-8") from None
    if message.size > ROW_LIMIT_BYTES:
        raise LimitExceeded(
            f"a message of {message.size} bytes is more than the {ROW_LIMIT_BYTES} of a store"
        )


def _checksum(
    offset: int,
    where: int | str,
    time: float,
    expires_at: float,
    kind: PayloadKind,
    content_type: str | None,
    headers: str | None,
    retained: int,
    payload: bytes,
) -> int:
    number = where if isinstance(where, int) else crc32(where.encode())
    checksum = crc32(payload, crc32(_FIXED.pack(offset, number, time, expires_at, _FLAGS[kind] + retained)))
    if headers is not None or content_type is not None:
        checksum = crc32(repr((content_type, headers)).encode(), checksum)
    return checksum
