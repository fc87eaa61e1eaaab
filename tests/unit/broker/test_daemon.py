"""The daemon: what its settings make of the parts that it is built from."""

from dataclasses import fields

import pytest

from broker.daemon import fit_connections, server_limits
from broker.settings import SETTINGS, ServerSettings, Settings, WebSocketSettings
from extra.servers import ServerLimits


def test_every_limit_of_the_server_is_a_setting_and_called_so() -> None:
    limits = server_limits(Settings())
    settings = {setting.key: setting.default for setting in SETTINGS}
    for field in fields(ServerLimits):
        if field.name not in ("names", "frame_limit_bytes"):  # the endpoint says the latter in its response
            assert settings[limits.named(field.name)] == getattr(limits, field.name)
    assert limits.named("frame_limit_bytes") == "websocket.frame_limit_bytes"


def test_limits_of_the_server_follow_the_settings() -> None:
    server = ServerSettings(head_limit_bytes=1000, receive_limit_bytes=2000)
    limits = server_limits(Settings(server=server, websocket=WebSocketSettings(ping_interval_s=3.0)))
    assert (limits.head_limit_bytes, limits.receive_limit_bytes, limits.ping_interval_s) == (1000, 2000, 3.0)


@pytest.mark.parametrize(
    ("wanted", "descriptors", "limit"),
    [(1000, 1020, 1000), (1000, 1019, 999), (100_000, 256, 236), (10, 5, 1)],
)
def test_connections_are_no_more_than_files_can_be_open(wanted: int, descriptors: int, limit: int) -> None:
    """Those beyond would be closed without a word."""
    settings = fit_connections(Settings(server=ServerSettings(connections_limit=wanted)), descriptors)
    assert settings.server.connections_limit == limit
