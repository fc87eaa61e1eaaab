"""A real daemon, and what it is held to."""

import signal
import urllib.error
import urllib.request

import pytest

from extra.testing import Daemon
from extra.testing.daemon import environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_daemon_listens_until_it_is_left() -> None:
    with Daemon() as daemon:
        assert daemon.is_running
        assert daemon.url == f"http://127.0.0.1:{daemon.port}"
        with urllib.request.urlopen(f"{daemon.url}/healthz") as answer:
            assert answer.status == 200
        daemon.wait_for(str(daemon.port))
        assert daemon.log
        assert daemon.troubles == []
    assert not daemon.is_running
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{daemon.url}/healthz")


def test_daemon_that_does_not_start_says_why() -> None:
    with pytest.raises(ChildProcessError, match="no-such-option"):
        Daemon("--no-such-option")


def test_daemon_that_is_killed_is_not_asked_to_have_ended_well() -> None:
    daemon = Daemon()
    daemon.kill()
    assert daemon.wait() == -signal.SIGKILL
    with pytest.raises(AssertionError, match="exit status -9"):
        daemon.stop()


def test_block_that_fails_cuts_it_off() -> None:
    with pytest.raises(ZeroDivisionError), Daemon() as daemon:
        raise ZeroDivisionError
    assert not daemon.is_running


def test_settings_of_the_environment_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA_BROKER_SERVER_PORT", "1")
    found = environment(MORE="1")
    assert ("EXTRA_BROKER_SERVER_PORT" in found, found["MORE"]) == (False, "1")
