"""Payloads that come in: what kind they are, and whether they are what their content type says.

JSON is spliced into envelopes as it came, so what passes here is what every subscriber parses: it is held to
RFC 8259 to the letter, to UTF-8, and to a depth and to numbers that no parser stumbles over.
"""

import re
from typing import Final

import msgspec

from extra.errors import InvalidPayload
from extra.payloads import PayloadKind, classify

__all__ = [
    "JSON_DEPTH_LIMIT",
    "JSON_DIGITS_LIMIT",
    "admit_payload",
    "check_json",
    "check_json_depth",
    "check_payload",
    "sniff",
]

JSON_DEPTH_LIMIT: Final = 128
"""How deeply arrays and objects of a JSON payload may nest. Parsers give up somewhere between 64 and 1,000
levels, and a message that its subscribers cannot parse would come again at each of their reconnects."""

JSON_DIGITS_LIMIT: Final = 4300
"""How many digits a number of a JSON payload may have in a row: what Python makes an integer of. A message
that its subscribers cannot parse would come again, as above."""

_TOO_MANY_DIGITS: Final = re.compile(rb"(?<![0-9])[0-9]{%d}" % (JSON_DIGITS_LIMIT + 1))

_FORM: Final = "application/x-www-form-urlencoded"

_walk: Final = msgspec.json.Decoder(msgspec.Raw).decode
"""Checks the grammar without making objects; refuses lone surrogates. UTF-8 inside strings is not checked."""

_OPENS_ARRAY: Final = 0x5B
_OPENS_OBJECT: Final = 0x7B
_NOT_STRUCTURE: Final = bytes(set(range(256)).difference(b'[]{}"'))


def admit_payload(payload: bytes, content_type: str | None) -> tuple[PayloadKind, str | None]:
    """Return the kind of a payload, and the content type to keep with it; None when there is nothing to keep.

    A form's content type is what some clients send unasked: it counts as none, and then the payload speaks
    for itself.

    Raises:
        InvalidPayload: it is not what the content type says.
    """
    if content_type is None or content_type.partition(";")[0].strip().lower() == _FORM:
        return sniff(payload), None
    kind = classify(content_type)
    check_payload(payload, kind)
    return kind, content_type


def sniff(payload: bytes) -> PayloadKind:
    """Return `json` if the payload parses as JSON, else `text` if it is UTF-8, else `binary`."""
    try:
        check_payload(payload, "text")
    except InvalidPayload:
        return "binary"
    try:
        check_payload(payload, "json")
    except InvalidPayload:
        return "text"
    return "json"


def check_payload(payload: bytes, kind: PayloadKind) -> None:
    """Return if the payload is of this kind: JSON is RFC 8259 in UTF-8, text is UTF-8, anything is binary.

    Raises:
        InvalidPayload: it is not; or JSON nests too deeply, or escapes half of a surrogate pair.
    """
    if kind == "binary":
        return
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise InvalidPayload(
                f"{kind} payload is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
    if kind == "json":
        try:
            _walk(payload)
        except RecursionError:
            raise InvalidPayload(f"JSON payload has more than {JSON_DEPTH_LIMIT} levels") from None
        except msgspec.DecodeError as error:
            flaw = str(error).removeprefix("JSON is malformed: ")
            raise InvalidPayload(f"payload is not JSON: {flaw[:1].lower()}{flaw[1:]}") from None
        check_json(payload)


def check_json(payload: bytes) -> None:
    """Return if a payload that is known to be JSON nests no deeper, and has no longer numbers, than allowed.

    Raises:
        InvalidPayload: it nests deeper, or has a number of more than `JSON_DIGITS_LIMIT` digits in a row.
    """
    check_json_depth(payload)
    if len(payload) > JSON_DIGITS_LIMIT and _TOO_MANY_DIGITS.search(payload) is not None:
        # There are, if not in a string: see `check_json_depth` for what is left out here.
        unescaped = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
        for part in unescaped.split(b'"')[::2]:
            if _TOO_MANY_DIGITS.search(part) is not None:
                raise InvalidPayload(f"JSON payload has a number of more than {JSON_DIGITS_LIMIT} digits")


def check_json_depth(payload: bytes) -> None:
    """Return if a payload that is known to be JSON nests no deeper than `JSON_DEPTH_LIMIT`.

    Costs next to nothing unless there are brackets enough for it, and then some 5 ms for each MiB.

    Raises:
        InvalidPayload: it nests deeper.
    """
    if len(payload) <= 2 * JSON_DEPTH_LIMIT:
        return
    if payload.count(b"[") + payload.count(b"{") <= JSON_DEPTH_LIMIT:
        return
    # Backslashes stand in strings only, and the first of a run is not escaped itself. With the pairs of them
    # and the escaped quotes gone, each quote that is left begins or ends a string; so it still is when two
    # that touch are taken out, which is what most strings come to.
    unescaped = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    quotes_and_brackets = unescaped.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    depth = 0
    for byte in b"".join(quotes_and_brackets.split(b'"')[::2]):
        if byte in (_OPENS_ARRAY, _OPENS_OBJECT):
            depth += 1
            if depth > JSON_DEPTH_LIMIT:
                raise InvalidPayload(f"JSON payload has more than {JSON_DEPTH_LIMIT} levels")
        else:
            depth -= 1
