"""What a store is exported as and imported from: one record after the other, as JSON lines or as msgpack.

The first record is `{"op":"store", ..}` with the epoch and the head, then come `topic` records with what
each topic has lost, `message` records in the order of their offsets, and `retained` records. A message has
the fields that it has on the wire, and `time` and `kind` besides. A JSON payload stands as `data` as it is,
unless that would break the line: then it is in `data_base64`, as bytes are. In msgpack the payload is
`payload`, always.
"""

import json
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from typing import IO, Final, Literal, TypeAlias, get_args

import msgpack
import msgspec

from extra.errors import InvalidPayload, InvalidTopic
from extra.payloads import JSONValue
from extra.protocols.payloads import check_payload
from extra.pubsub import Message
from extra.topics import check_topic

__all__ = [
    "FORMATS",
    "VERSION",
    "BadRecord",
    "Format",
    "Record",
    "encode_message",
    "encode_record",
    "read_records",
]

Format: TypeAlias = Literal["jsonl", "msgpack"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

VERSION: Final = 1
RECORD_LIMIT_BYTES: Final = 1_000_000_000
CHUNK_BYTES: Final = 1 << 20


class BadRecord(Exception):
    """A record is not what it has to be. Says which, counted from 1, and what is wrong with it."""


class Record(msgspec.Struct, kw_only=True):
    """One record of any kind: which fields there are follows from `op`."""

    op: Literal["store", "topic", "message", "retained"]
    version: int = 0
    epoch: str = ""
    head: int = 0
    forgotten_until: int = 0
    messages: int = 0
    topic: str = ""
    evicted_until: int = 0
    offset: int = 0
    time: float = 0.0
    kind: Literal["json", "text", "binary"] | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    expires_at: float = 0.0
    retained: bool = False
    close: bool | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    payload: bytes | None = None

    def message(self) -> Message:
        """Return the message of a `message` or `retained` record. Raises ValueError with what is wrong."""
        try:
            check_topic(self.topic)
            kind = self.kind
            if kind is None:
                raise ValueError("it has no kind: json, text or binary")
            payload = self._payload()
            check_payload(payload, kind)
        except (InvalidTopic, InvalidPayload) as error:
            raise ValueError(str(error)) from None
        return Message(
            self.topic,
            payload,
            kind,
            content_type=self.content_type,
            headers=self.headers,
            expires_at=self.expires_at,
            retained=self.retained,
            close=self.close,
        )

    def _payload(self) -> bytes:
        if self.payload is not None:
            return self.payload
        if self.data_base64 is not None:
            try:
                return a2b_base64(self.data_base64.encode(), strict_mode=True)
            except (Base64Error, UnicodeEncodeError) as error:
                raise ValueError(f"its data_base64 is none: {error}") from None
        data = bytes(self.data)
        if not data:
            raise ValueError("it has no data")
        if self.kind == "json":
            return data
        try:
            return msgspec.json.decode(data, type=str).encode()
        except msgspec.DecodeError:
            raise ValueError(f"its data is not a string, and its kind is {self.kind}") from None


def encode_record(fields: dict[str, JSONValue], form: Format) -> bytes:
    """Return a record without a payload as it stands in a file, its line feed included."""
    if form == "msgpack":
        return msgspec.msgpack.encode(fields)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def encode_message(
    op: Literal["message", "retained"], message: Message, offset: int, time: float, form: Format
) -> bytes:
    """Return the record of a message that has this place, as `encode_record` does."""
    fields: dict[str, JSONValue] = {
        "op": op,
        "topic": message.topic,
        "offset": offset,
        "time": time,
        "kind": message.kind,
    }
    if message.content_type is not None:
        fields["content_type"] = message.content_type
    if message.headers is not None:
        fields["headers"] = dict(message.headers)
    if message.expires_at:
        fields["expires_at"] = message.expires_at
    if message.retained:
        fields["retained"] = True
    if message.close:
        fields["close"] = True
    payload = message.payload
    if form == "msgpack":
        return msgspec.msgpack.encode({**fields, "payload": payload})
    line = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    if message.kind == "json" and b"\n" not in payload and b"\r" not in payload:
        return line + b',"data":' + payload + b"}\n"
    if message.kind == "text":
        return line + b',"data":' + json.dumps(payload.decode()).encode() + b"}\n"
    return line + b',"data_base64":"' + b64encode(payload) + b'"}\n'


def read_records(file: IO[bytes]) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file with their numbers, counted from 1; its first byte tells which form it has.

    Raises:
        BadRecord: there is something else, or the file has no records at all.
        OSError: it cannot be read.
    """
    start = file.read(1)
    values = _lines(start, file) if start in (b"{", b" ", b"\n", b"\r", b"\t") else _packed(start, file)
    number = 0
    for number, record in values:
        if number == 1 and (record.op != "store" or record.version < 1):
            raise BadRecord('record 1 is not that of a store, {"op":"store", ..}: this is no export')
        if number == 1 and record.version > VERSION:
            raise BadRecord(f"record 1 says version {record.version}, and {VERSION} is the newest known here")
        yield number, record
    if number == 0:
        raise BadRecord("there is nothing in it")


def _lines(start: bytes, file: IO[bytes]) -> Iterator[tuple[int, Record]]:
    decoder = msgspec.json.Decoder(Record)
    first = start + file.readline()
    lines: Iterable[bytes] = file
    number = 0
    for line in _chain(first, lines):
        if not line.strip():
            continue
        number += 1
        try:
            yield number, decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRecord(f"record {number}: {error}") from None


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _packed(start: bytes, file: IO[bytes]) -> Iterator[tuple[int, Record]]:
    unpacker = msgpack.Unpacker(max_buffer_size=RECORD_LIMIT_BYTES)
    number = size = end = 0
    chunk = start
    while chunk:
        size += len(chunk)
        try:
            unpacker.feed(chunk)
            for value in unpacker:
                number += 1
                end = unpacker.tell()
                yield number, msgspec.convert(value, Record)
        except msgspec.ValidationError as error:
            raise BadRecord(f"record {number}: {error}") from None
        except (ValueError, msgpack.UnpackException, RecursionError) as error:
            raise BadRecord(f"record {number + 1}: {str(error) or type(error).__name__}") from None
        chunk = file.read(CHUNK_BYTES)
    if end != size:
        raise BadRecord(f"record {number + 1}: the file ends within it")
