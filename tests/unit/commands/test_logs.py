"""The log of `extra run`."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from extra.commands.logs import configure_log, log_access, set_up_log
from extra.commands.options import OptionError
from extra.http import Request

NAME = "extra.tests.logs"

CONFIGS = {
    "log.json": f'{{"version": 1, "incremental": true, "loggers": {{"{NAME}": {{"level": "ERROR"}}}}}}',
    "log.toml": f'version = 1\nincremental = true\n[loggers."{NAME}"]\nlevel = "ERROR"\n',
}


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Put levels back as they were."""
    loggers = [logging.getLogger(name) for name in ("extra", NAME)]
    before = [each.level for each in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_is_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CONFIGS[name])
    configure_log(str(tmp_path / name))
    assert logging.getLogger(NAME).level == logging.ERROR


def test_configuration_is_a_dictionary_and_the_level_is_still_ours() -> None:
    set_up_log("warning", {"version": 1, "incremental": True, "loggers": {NAME: {"level": "DEBUG"}}})
    assert logging.getLogger(NAME).level == logging.DEBUG
    assert logging.getLogger("extra").level == logging.WARNING


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.json", "{"),
        ("log.json", '{"version": 7}'),
        ("log.toml", "= 1"),
        ("log.ini", "[nothing]"),
        ("log.json", None),
    ],
)
def test_what_is_no_configuration_names_the_option(tmp_path: Path, name: str, text: str | None) -> None:
    config: str | Mapping[str, object] = str(tmp_path / name)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(OptionError) as caught:
        configure_log(config)
    assert caught.value.name == "log_config"


def test_access_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "extra")
    log_access(Request("GET", b"/a\x1b[2J\n", client="x:1"), 200, 5, 0.0012)
    assert caplog.messages == ['x:1 "GET /a\\x1b[2J\\n" 200 5 bytes 1.2 ms']
