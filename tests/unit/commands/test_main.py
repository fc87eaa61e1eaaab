"""The command line of `extra`."""

from typing import Any

import pytest

import extra.commands.running
from extra.commands import main
from extra.commands.options import options_of


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was to be run, and how."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run(target: str, **options: Any) -> int:
        options_of(options)
        calls.append((target, options))
        return 7

    monkeypatch.setattr(extra.commands.running, "run", run)
    return calls


def test_only_what_is_said_is_passed_on(ran: list[tuple[str, dict[str, Any]]]) -> None:
    assert main(["run", "a:b"]) == 7
    assert ran == [("a:b", {})]


def test_options_are_those_of_running(ran: list[tuple[str, dict[str, Any]]]) -> None:
    words = (
        "run a:b --host ::1 --port 0 --uds /x --fd 3 --interface asgi3 --factory --app-dir d --loop asyncio "
        "--lifespan off --root-path /r --no-access-log --log-level debug --header X:y --header Z: "
        "--backlog 1 --limit-concurrency 2 --timeout-keep-alive 3 --timeout-graceful-shutdown 4 "
        "--ws-ping-interval 5 --ws-ping-timeout 6"
    )
    main(words.split())
    assert ran[0][1] == {
        "host": "::1",
        "port": 0,
        "uds": "/x",
        "fd": 3,
        "interface": "asgi3",
        "factory": True,
        "app_dir": "d",
        "loop": "asyncio",
        "lifespan": "off",
        "root_path": "/r",
        "access_log": False,
        "log_level": "debug",
        "headers": [("X", "y"), ("Z", "")],
        "backlog": 1,
        "limit_concurrency": 2,
        "timeout_keep_alive": 3.0,
        "timeout_graceful_shutdown": 4.0,
        "ws_ping_interval": 5.0,
        "ws_ping_timeout": 6.0,
    }


@pytest.mark.parametrize(
    "words",
    ["", "nonsense", "run", "run a:b --port x", "run a:b --header x", "run a:b --interface cgi", "routes"],
)
def test_wrong_calls_end_with_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    assert "usage: extra" in capsys.readouterr().err


def test_routes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "tests.unit.commands.test_routes:rooms"]) == 0
    assert "Rooms.show" in capsys.readouterr().out
