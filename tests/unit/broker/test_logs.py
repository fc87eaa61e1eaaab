"""The log: its two forms, which of them when, and what never gets into either."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.logs import JSONFormatter, TextFormatter, configure, redact
from broker.settings import LogSettings

SECRET = "s3cr3t"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _untouched_loggers() -> Iterator[None]:
    """Gives the loggers back as they were."""
    loggers = [logging.getLogger(name) for name in (None, "broker", "extra")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def record(message: str, *args: object, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("extra.test", level, "test.py", 1, message, args, None)
    made.created = 1_795_000_000.25
    made.msecs = 250.0
    vars(made).update(fields)
    return made


def text_of(made: logging.LogRecord) -> str:
    return TextFormatter(colour=False).format(made)


def json_of(made: logging.LogRecord) -> dict[str, object]:
    line = JSONFormatter().format(made)
    assert "\n" not in line
    entry: dict[str, object] = json.loads(line)
    return entry


def failure(message: str) -> logging.LogRecord:
    made = record("it failed", level=logging.ERROR)
    try:
        raise ValueError(message)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_text_has_time_level_message_and_fields() -> None:
    line = text_of(record("listening on %s", "a port", host="127.0.0.1", port=8080, ready=True, uds=None))
    assert line[8:] == ".250 info    listening on a port  host=127.0.0.1 port=8080 ready=true uds=null"
    assert line[2] == line[5] == ":"


def test_json_has_time_in_utc_level_logger_message_and_fields() -> None:
    assert json_of(record("listening", host="127.0.0.1", port=8080, load=0.5)) == {
        "time": "2026-11-18T11:06:40.250Z",
        "level": "info",
        "logger": "extra.test",
        "message": "listening",
        "host": "127.0.0.1",
        "port": 8080,
        "load": 0.5,
    }


def test_no_field_replaces_what_every_line_has() -> None:
    entry = json_of(record("told", level=logging.WARNING, time=1, logger="x", exception="kept"))
    assert entry["time"] == "2026-11-18T11:06:40.250Z"
    assert (entry["level"], entry["logger"], entry["exception"]) == ("warning", "extra.test", "kept")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("two words", '"two words"'), ("", '""'), ('a"b', '"a\\"b"'), ("a=b", '"a=b"'), (["a", 1], '["a", 1]')],
)
def test_field_that_is_not_one_word_is_quoted(value: object, shown: str) -> None:
    assert text_of(record("m", f=value)).endswith(f"m  f={shown}")


def test_text_cannot_be_forged_or_drive_the_terminal() -> None:
    """Line breaks of every kind, escape sequences, bidirectional overrides."""
    evil = "a\n12:00:00 info forged\r\x1b[2J\x9b1m\u2028\u202e\0"
    line = text_of(record("from %s", evil, name_given=evil))
    assert line.isprintable()
    assert "a\\n12:00:00 info forged\\r\\x1b[2J\\x9b1m\\u2028\\u202e\\x00" in line


@given(text=st.text(st.characters(), max_size=30))
@hypothesis_settings(max_examples=100, deadline=None)
def test_whatever_is_logged_makes_one_line_of_each_form(text: str) -> None:
    assert text_of(record("%s", text, field=text)).isprintable()
    assert set(json_of(record("%s", text, field=text))) == {"time", "level", "logger", "message", "field"}


def test_traceback_is_indented_under_the_line_in_text() -> None:
    lines = text_of(failure("one\n12:00:00.000 info forged \x1b[0m")).split("\n")
    assert lines[0].endswith("error   it failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    12:00:00.000 info forged \\x1b[0m"
    assert all(line.startswith("    ") for line in lines[1:])


def test_stack_that_was_asked_for_follows_as_well() -> None:
    made = record("here")
    made.stack_info = "Stack (most recent call last):\n  somewhere"
    assert text_of(made).split("\n")[1:] == ["    Stack (most recent call last):", "      somewhere"]


def test_traceback_is_a_field_in_json() -> None:
    exception = json_of(failure("one\ntwo"))["exception"]
    assert isinstance(exception, str)
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("ValueError: one\ntwo")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"/t/a?token={SECRET}&since=now", "/t/a?token=***&since=now"),
        (f"/t/a?since=now&access_token={SECRET}", "/t/a?since=now&access_token=***"),
        (f"/t/a?TOKEN={SECRET}#x", "/t/a?TOKEN=***#x"),
        (f"/t/a?%74oKe%4E={SECRET}", "/t/a?%74oKe%4E=***"),
        (f"http://user:{SECRET}@host/t", "http://***@host/t"),
        (f"authorization: Bearer {SECRET}", "authorization: Bearer ***"),
        ("http://host/t/a@b?since=now", "http://host/t/a@b?since=now"),
        ("broken: no token", "broken: no token"),
    ],
)
def test_tokens_and_passwords_are_taken_out(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_no_secret_gets_through_anywhere() -> None:
    url = f"http://u:{SECRET}@h/?token={SECRET}"
    made = failure(f"at {url}")
    made.msg = f"reading {url} of %s"
    made.args = (url,)
    vars(made).update(url=url, urls=[url], other=ValueError(url), payload=SECRET.encode())
    assert SECRET not in text_of(made)
    assert SECRET not in JSONFormatter().format(made)


def test_bytes_are_logged_as_their_number() -> None:
    """Payloads are bytes, always."""
    made = record("published", payload=b"secret!", view=memoryview(b"abc"))
    assert text_of(made).endswith('payload="<7 bytes>" view="<3 bytes>"')


def test_json_has_no_number_that_json_does_not_know() -> None:
    assert json_of(record("m", ratio=float("nan"), far=float("inf")))["ratio"] == "nan"


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", Terminal, False),
        ("auto", io.StringIO, True),
        ("text", io.StringIO, False),
        ("json", Terminal, True),
    ],
)
def test_form_is_as_asked_and_auto_goes_by_the_terminal(
    form: str, stream: type[io.StringIO], is_json: bool
) -> None:
    output = stream()
    configure(LogSettings(format=form), output)
    logging.getLogger("broker.test").info("hello")
    assert output.getvalue().startswith("{") == is_json


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"),
    [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)],
)
def test_colour_is_for_terminals_unless_refused(
    stream: type[io.StringIO], no_color: bool, coloured: bool
) -> None:
    output = stream()
    configure(LogSettings(format="text"), output, no_color=no_color)
    logging.getLogger("broker.test").warning("hello")
    assert ("\x1b[33mwarning\x1b[0m hello" in output.getvalue()) == coloured


def test_level_is_for_our_own_loggers_and_others_speak_from_warnings_on() -> None:
    output = io.StringIO()
    configure(LogSettings(level="debug"), output)
    logging.getLogger("extra.pubsub").debug("ours")
    logging.getLogger("broker.endpoints").debug("ours")
    logging.getLogger("asyncio").info("noise")
    logging.getLogger("websockets.server").warning("trouble")
    assert [json.loads(line)["message"] for line in output.getvalue().splitlines()] == [
        "ours",
        "ours",
        "trouble",
    ]


def test_level_above_warning_silences_others_as_well() -> None:
    output = io.StringIO()
    configure(LogSettings(level="error"), output)
    logging.getLogger("extra.pubsub").warning("ours")
    logging.getLogger("asyncio").warning("theirs")
    assert output.getvalue() == ""


def test_configuring_again_replaces_what_was_there() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(LogSettings(), first)
    configure(LogSettings(), second)
    logging.getLogger("broker.test").info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1
