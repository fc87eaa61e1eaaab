"""The daemon's own life: where it runs, what it says, when it refuses to."""

import pytest

pytestmark = pytest.mark.e2e


def test_x(daemon, topic, start):
    assert daemon.log[0]["level"] == "info"
    d = start("--server-drain-window-s", "1")
    print(d.url)
