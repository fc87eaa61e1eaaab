"""`extra-broker serve`: settings from all sources, the log, and help that a stranger can read."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from broker import __version__
from broker.commands.options import UsageError
from broker.commands.serve import run
from broker.settings import SECTIONS, SETTINGS, Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the daemon was started with, and then those that it reads anew, where it may.

    In its place is one that ends at once with status 7. The environment holds no setting.
    """
    calls: list[Settings] = []

    def serve(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
        calls.append(settings)
        if read is not None:
            calls.append(read())
        return 7

    module = ModuleType("broker.daemon")
    vars(module)["serve"] = serve
    monkeypatch.setitem(sys.modules, "broker.daemon", module)
    for variable in [name for name in os.environ if name.startswith("EXTRA_BROKER_")]:
        monkeypatch.delenv(variable)
    return calls


@pytest.fixture(autouse=True)
def _untouched_loggers() -> Iterator[None]:
    """Gives the loggers back as they were."""
    loggers = [logging.getLogger(name) for name in (None, "broker", "extra")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_daemon_runs_with_the_settings_and_its_status_is_returned(served: list[Settings]) -> None:
    assert run(["--port", "0", "--log-level=error"]) == 7
    (settings,) = served
    assert settings.server.port == 0
    assert settings.log.level == "error"


def test_file_environment_and_flags_are_read_in_this_order(
    served: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text("[server]\nport = 1\nbacklog = 1\nheaders_limit = 1\n")
    monkeypatch.setenv("EXTRA_BROKER_SERVER_BACKLOG", "2")
    monkeypatch.setenv("EXTRA_BROKER_SERVER_HEADERS_LIMIT", "2")
    run(["--config", str(config), "--server-headers-limit", "3"])
    server = served[0].server
    assert (server.port, server.backlog, server.headers_limit) == (1, 2, 3)


def test_file_can_be_named_in_the_environment(
    served: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text("[server]\nport = 1\n")
    monkeypatch.setenv("EXTRA_BROKER_CONFIG", str(config))
    run([])
    assert served[0].server.port == 1


def test_log_is_configured_before_the_daemon_runs(
    served: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["--log-format", "json", "--log-level", "debug"])
    logging.getLogger("extra.broker").debug("hello")
    assert capsys.readouterr().err.startswith('{"time":')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prot", "1"], "no option --prot: did you mean --port?"),
        (["--port"], "--port lacks its value: --port N"),
        (["--port", "x"], "--port: 'x' is not allowed: a port number, 0 to 65535"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot be read: No such file or directory"),
        (["--host", "0.0.0.0"], "server.host: 0.0.0.0 is more than this machine"),
        (["--port=0", "now"], "serve takes no argument 'now'"),
    ],
)
def test_wrong_call_or_setting_is_refused(served: list[Settings], words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(words)
    assert str(caught.value).startswith(message)
    assert served == []


@pytest.fixture
def shown_help(capfd: pytest.CaptureFixture[str]) -> str:
    assert run(["--help"]) == 0
    return capfd.readouterr().out


def test_help_shows_every_setting_with_its_default_by_section(shown_help: str) -> None:
    parts = shown_help.split("\n[")
    for section, part in zip(SECTIONS, parts[1:], strict=True):
        assert part.startswith(f"{section}]  ")
        words = part.split()
        for setting in SETTINGS:
            assert (setting.flag in words) == (setting.section == section)
    assert "[127.0.0.1]" in shown_help
    assert "[600]" in shown_help


def test_help_begins_with_what_most_need(shown_help: str) -> None:
    beginning = shown_help.partition("Settings\n")[0]
    for word in ("Usage:", "serve", "pub", "sub", "--config", "--host", "--port", "--log-level", "--version"):
        assert word in beginning
    assert len(beginning.splitlines()) < 30


def test_help_fits_a_page_of_100_columns(shown_help: str) -> None:
    assert max(map(len, shown_help.splitlines())) <= 100


def test_help_is_shown_whatever_else_is_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense", "--port", "x", "-h"]) == 0
    assert capfd.readouterr().out.startswith("Usage: ")


def test_version_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"extra-broker {__version__}\n"


def test_what_looks_like_a_setting_and_is_none_is_said_when_it_starts(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXTRA_BROKER_PORT", "8081")
    assert run([]) == 7
    assert "did you mean EXTRA_BROKER_SERVER_PORT?" in capsys.readouterr().err


def test_a_file_can_be_read_anew_with_the_same_environment_and_flags(
    served: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text("[server]\nport = 1\nbacklog = 1\n")
    monkeypatch.setenv("EXTRA_BROKER_SERVER_BACKLOG", "2")
    run(["--config", str(config), "--server-headers-limit", "3"])
    assert served[0] == served[1]
    served.clear()
    run(["--port", "1"])
    assert len(served) == 1, "without a file there is nothing to read anew"
