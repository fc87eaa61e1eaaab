"""What kind a payload is, by its content type. Plain functions over text; every package may use them."""

from typing import Final, Literal, TypeAlias

__all__ = [
    "MAX_CONTENT_TYPE_BYTES",
    "MAX_HEADERS",
    "MAX_HEADERS_BYTES",
    "USUAL_CONTENT_TYPE",
    "JSONValue",
    "PayloadKind",
    "classify",
    "content_type_flaw",
    "headers_flaw",
]

MAX_CONTENT_TYPE_BYTES: Final = 255
MAX_HEADERS: Final = 64
MAX_HEADERS_BYTES: Final = 8192
"""The names and values of a message's headers together, in UTF-8."""

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


def content_type_flaw(content_type: str) -> str:
    """Return what keeps this from being the content type of a message, empty when nothing does.

    It becomes a field of HTTP again: what is not fit for that is not taken.
    """
    if not (content_type.isascii() and content_type.isprintable() and content_type.strip()):
        return "content_type: not printable ASCII"
    if len(content_type) > MAX_CONTENT_TYPE_BYTES:
        return f"content_type: longer than {MAX_CONTENT_TYPE_BYTES} bytes"
    return ""


def headers_flaw(headers: dict[str, str]) -> str:
    """Return why these are too many or too long for the headers of a message, empty when they are not."""
    if len(headers) > MAX_HEADERS:
        return f"headers: {len(headers)} of them, at most {MAX_HEADERS}"
    size = 0
    for name, value in headers.items():
        size += len(name.encode(errors="surrogatepass")) + len(value.encode(errors="surrogatepass"))
    if size > MAX_HEADERS_BYTES:
        return f"headers: {size:,} bytes, at most {MAX_HEADERS_BYTES:,}"
    return ""


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
