"""Help for tests: a client without sockets, a clock that the test moves, and a real daemon.

In `conftest.py`, `pytest_plugins = ["extra.testing.fixtures"]` makes fixtures of them.
"""

from extra.testing.brokers import broker_by
from extra.testing.client import Answer, TestClient, TestEvents, TestSocket
from extra.testing.clock import FakeClock
from extra.testing.daemon import Daemon

__all__ = ["Answer", "Daemon", "FakeClock", "TestClient", "TestEvents", "TestSocket", "broker_by"]
