"""What kind a payload is, by its content type. Plain functions over text; every package may use them."""

from typing import Final, Literal, TypeAlias

__all__ = ["USUAL_CONTENT_TYPE", "JSONValue", "PayloadKind", "classify"]

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"

PayloadKind: TypeAlias = Literal["json", "text", "binary"]
"""`json` is spliced into an envelope as it is, `text` becomes a string.

`binary` travels in base64 or as `bin`.
"""

USUAL_CONTENT_TYPE: Final[dict[str, str]] = {
    "json": "application/json",
    "text": "text/plain",
    "binary": "application/octet-stream",
}
"""The content type of each kind that an envelope does not spell out."""


def classify(content_type: str) -> PayloadKind:
    """Return the kind of a payload with this content type (RFC 9110 8.3.1), parameters included.

    `application/json` and `+json` suffixes (RFC 6839) are JSON; `text/*` is text unless its charset is
    something else than UTF-8 or ASCII; all else is binary.
    """
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    if media_type.startswith("text/"):
        for parameter in parameters.split(";"):
            name, _, value = parameter.partition("=")
            charset = value.strip().strip('"').lower()
            if name.strip().lower() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
                return "binary"
        return "text"
    return "binary"
