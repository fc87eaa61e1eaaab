"""The log on standard error: lines for people on a terminal, JSON lines for machines elsewhere.

What is particular to an event goes into fields, beside the message:

    logger.info("listening", extra={"host": host, "port": port})

Neither form lets through what must not be logged: a token in a URL or a header becomes `***`, bytes (payloads
are bytes, always) become their number. In text, whatever does not print is escaped, so that nobody who gets a
name or a header into the log can forge a line of it or drive the terminal.
"""

import json
import logging
import re
import time
from math import isfinite
from typing import Final, TextIO, TypeAlias, final

from broker.settings import LogSettings

__all__ = ["JSONFormatter", "TextFormatter", "configure", "redact"]

OUR_LOGGERS: Final = ("broker", "extra")
"""These log from `log.level` on; what others have to say below a warning is noise here."""

COLOURS: Final = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}

_STANDARD_ATTRIBUTES: Final = frozenset({*vars(logging.makeLogRecord({})), "asctime", "message", "taskName"})

# A server decodes the names in a query: `%74oken=` is `token=`, too. Others end in it: `access_token=`.
_TOKEN: Final = "".join(f"(?:{letter}|%{ord(letter):x}|%{ord(letter) - 32:x})" for letter in "token")
_SECRET: Final = re.compile(rf"(?i)({_TOKEN}=|\bbearer\s+)[^\s&#;,'\"]+")
_USER: Final = re.compile(r"://[^\s/?#@]+@")

_Plain: TypeAlias = "bool | int | float | str | list[_Plain] | None"


def configure(settings: LogSettings, stream: TextIO, *, no_color: bool = False) -> None:
    """Send all that is logged from now on to `stream`, in the form that the settings and the stream ask for.

    `no_color` keeps colour away from terminals as well.
    """
    is_terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    if settings.format == "text" or (settings.format == "auto" and is_terminal):
        handler.setFormatter(TextFormatter(colour=is_terminal and not no_color))
    else:
        handler.setFormatter(JSONFormatter())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)


def redact(text: str) -> str:
    """Return `text` with `***` for tokens in queries and headers, and for users and passwords in URLs."""
    return _USER.sub("://***@", _SECRET.sub(r"\1***", text))


@final
class TextFormatter(logging.Formatter):
    """`12:45:01.250 info    listening  host=127.0.0.1 port=8080`, in local time; a traceback indented."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = record.levelname.lower()
        shown_level = f"{level:<7}"
        if self.colour and level in COLOURS:
            shown_level = f"\x1b[{COLOURS[level]}m{shown_level}\x1b[0m"
        line = f"{clock}.{int(record.msecs):03} {shown_level} {_escape(redact(record.getMessage()))}"
        shown_fields = [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        if shown_fields:
            line += "  " + " ".join(shown_fields)
        return "\n    ".join([line, *map(_escape, _trace(self, record).splitlines())])


@final
class JSONFormatter(logging.Formatter):
    """An object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, fields, and any `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fixed: dict[str, _Plain] = {
            "time": f"{clock}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        trace = _trace(self, record)
        if trace:
            fixed["exception"] = trace
        return json.dumps(fixed | _fields(record) | fixed, separators=(",", ":"))  # no field replaces these


def _fields(record: logging.LogRecord) -> dict[str, _Plain]:
    return {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}


def _plain(value: object) -> _Plain:
    """Return what of a field goes into the log, as JSON has it."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return redact(str(value))


def _shown(value: _Plain) -> str:
    """Return the text form of a field: bare where it is one word, in quotes otherwise."""
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return _escape(json.dumps(value, ensure_ascii=False))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback and the stack that go with a record, empty when there are none."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return redact("\n".join(parts))
