"""Settings: what is known of each one, what it accepts, and what is said of who can reach the broker."""

from dataclasses import FrozenInstanceError, fields, replace
from math import inf, nan

import pytest

from broker.settings import (
    SECTIONS,
    SETTINGS,
    ServerSettings,
    Setting,
    Settings,
    SettingsError,
    check_exposure,
    describe,
    shown,
)

BY_KEY = {setting.key: setting for setting in SETTINGS}

UNIT_OF_SUFFIX = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_bytes": "bytes",
    "_messages": "messages",
    "_levels": "levels",
    "_keys": "keys",
    "_topics": "topics",
}


def refusal(setting: Setting, value: object) -> str:
    with pytest.raises(SettingsError) as caught:
        setting.accept(value, "here")
    return str(caught.value)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_has_help_and_says_what_it_may_be(setting: Setting) -> None:
    assert setting.help
    assert setting.help == setting.help.strip(" .")
    assert setting.noun
    assert setting.allowed.startswith(setting.noun)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_default_is_allowed(setting: Setting) -> None:
    value = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    assert setting.accept(value, "default") == setting.default


@pytest.mark.parametrize(
    "setting", [setting for setting in SETTINGS if type(setting.default) in (int, float)], ids=lambda s: s.key
)
def test_every_number_has_a_unit_and_its_name_agrees(setting: Setting) -> None:
    assert setting.noun.startswith(("a whole number of ", "a number of ", "a port number"))
    for suffix, unit in UNIT_OF_SUFFIX.items():
        if setting.name.endswith(suffix):
            assert setting.noun.endswith(unit)


def test_names_of_settings_are_told_apart_everywhere() -> None:
    for names in (
        [setting.key for setting in SETTINGS],
        [setting.variable for setting in SETTINGS],
        [setting.flag for setting in SETTINGS] + [s.short_flag for s in SETTINGS if s.short_flag],
    ):
        assert len(names) == len(set(names))


def test_one_setting_has_three_names() -> None:
    setting = BY_KEY["broker.max_payload_bytes"]
    assert setting.variable == "EXTRA_BROKER_BROKER_MAX_PAYLOAD_BYTES"
    assert setting.flag == "--broker-max-payload-bytes"


def test_sections_come_in_the_order_of_the_tree() -> None:
    assert list(SECTIONS) == [section.name for section in fields(Settings)]
    assert all(kind.__doc__ for kind in SECTIONS.values())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().server.port = 1  # type: ignore[misc]  # that is what is tested


def test_describe_gives_every_setting_with_its_value() -> None:
    settings = replace(Settings(), server=ServerSettings(port=9000))
    described = {setting.key: value for setting, value in describe(settings)}
    assert described["server.port"] == 9000
    assert described["log.level"] == "info"
    assert list(described) == list(BY_KEY)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("retention.age_s", -1, "here: -1 is not allowed: a number of seconds, 0 or more"),
        ("retention.age_s", nan, "here: nan is not allowed: a number of seconds, 0 or more"),
        ("retention.age_s", inf, "here: inf is not allowed: a number of seconds, 0 or more"),
        ("retention.age_s", "60", "here: '60' is not allowed: a number of seconds, 0 or more"),
        ("retention.age_s", True, "here: true is not allowed: a number of seconds, 0 or more"),
        ("retention.messages", 1.5, "here: 1.5 is not allowed: a whole number of messages, 0 or more"),
        ("server.port", 65_536, "here: 65536 is not allowed: a port number, 0 to 65535"),
        ("server.port", False, "here: false is not allowed: a port number, 0 to 65535"),
        ("server.head_timeout_s", 0, "here: 0 is not allowed: a number of seconds, 0.1 to 3600"),
        ("websocket.deflate", 1, "here: 1 is not allowed: true or false"),
        ("log.level", "loud", "here: 'loud' is not allowed: one of debug, info, warning, error"),
        ("server.host", "", "here: '' is not allowed: an IP address or a host name"),
        ("server.host", "127.0.0.1:80", "here: '127.0.0.1:80' is not allowed: an IP address or a host name"),
        ("server.host", ["::1"], "here: a list is not allowed: an IP address or a host name"),
        ("server.uds", "a\0b", "here: 'a\\x00b' is not allowed: the path of a socket"),
        (
            "server.allow_origins",
            ["https://a.example", "https://b.example/"],
            "here: 'https://b.example/' is not allowed: a list of origins such as https://app.example.org",
        ),
        (
            "server.allow_hosts",
            "a.example",
            "here: 'a.example' is not allowed: a list of host names, without ports",
        ),
        (
            "server.allow_hosts",
            [{}],
            "here: a table is not allowed: a list of host names, without ports",
        ),
    ],
)
def test_refusal_names_the_place_the_value_and_what_is_allowed(key: str, value: object, message: str) -> None:
    assert refusal(BY_KEY[key], value) == message


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("retention.age_s", 0, 0.0),
        ("retention.age_s", 1.5, 1.5),
        ("retention.messages", 2**70, 2**70),
        ("server.port", 65_535, 65_535),
        ("server.host", "::1", "::1"),
        ("server.host", "fe80::1%eth0", "fe80::1%eth0"),
        ("server.host", "broker.example.org", "broker.example.org"),
        ("server.allow_origins", ["http://[::1]:3000"], ("http://[::1]:3000",)),
        ("server.allow_origins", [], ()),
    ],
)
def test_what_is_allowed_comes_back_in_the_settings_own_type(
    key: str, value: object, accepted: object
) -> None:
    result = BY_KEY[key].accept(value, "here")
    assert result == accepted
    assert type(result) is type(BY_KEY[key].default)


def test_number_too_large_for_its_type_is_refused() -> None:
    assert "is not allowed: a number of seconds" in refusal(BY_KEY["retention.age_s"], 10**400)


@pytest.mark.parametrize(
    ("key", "text", "accepted"),
    [
        ("server.port", "9000", 9000),
        ("retention.age_s", "0.5", 0.5),
        ("websocket.deflate", "true", True),
        ("websocket.deflate", "false", False),
        ("server.host", "::1", "::1"),
        ("server.allow_hosts", "a.example, b.example,", ("a.example", "b.example")),
        ("server.allow_hosts", "", ()),
    ],
)
def test_text_of_a_variable_or_flag_is_read(key: str, text: str, accepted: object) -> None:
    assert BY_KEY[key].parse(text, "here") == accepted


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("server.port", "tcp://10.0.0.1:80", "here: 'tcp://10.0.0.1:80' is not allowed: a port number, "),
        ("server.port", "9" * 5000, "here: '99999"),
        ("server.port", "", "here: '' is not allowed: a port number, 0 to 65535"),
        ("retention.age_s", "inf", "here: inf is not allowed: a number of seconds, 0 or more"),
        ("websocket.deflate", "yes", "here: 'yes' is not allowed: true or false"),
    ],
)
def test_text_that_is_none_is_refused_as_it_is(key: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BY_KEY[key].parse(text, "here")
    assert str(caught.value).startswith(message)


def test_shown_value_is_short_and_on_one_printable_line() -> None:
    for value in (
        "x" * 1000,
        "\n\x1b[31m",
        "\udc80",
        10**5000,
        -(10**5000),
        ["x"] * 1000,
        {"x": 1},
        1e300,
        b"x",
    ):
        text = shown(value)
        assert 0 < len(text) <= 60
        assert text.isprintable()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_open_to_this_machine_only(host: str) -> None:
    lines = check_exposure(Settings(server=ServerSettings(host=host)))
    assert lines[0] == f"open to: this machine only ({host})"
    assert lines[1] == "web pages: this origin only (server.allow_origins)"
    assert lines[2] == "host names: IP addresses, localhost (server.allow_hosts)"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "broker.example.org", "localhost.example.org"]
)
def test_other_hosts_are_refused_with_the_setting_that_allows_them(host: str) -> None:
    with pytest.raises(SettingsError, match=rf"^server\.host: {host} .*server\.allow_anonymous"):
        check_exposure(Settings(server=ServerSettings(host=host)))


def test_allow_anonymous_opens_to_anybody_and_says_so() -> None:
    server = ServerSettings(host="0.0.0.0", allow_anonymous=True)
    assert check_exposure(Settings(server=server))[0] == (
        "open to: anybody who can reach 0.0.0.0, to read and to publish (server.allow_anonymous)"
    )


def test_unix_socket_is_open_to_whoever_may_open_it() -> None:
    server = ServerSettings(host="0.0.0.0", uds="/run/extra.sock")
    assert check_exposure(Settings(server=server))[0] == (
        "open to: whoever may open the socket /run/extra.sock (server.uds)"
    )


def test_origins_and_names_that_are_allowed_are_listed() -> None:
    server = ServerSettings(
        host="c.example",
        allow_anonymous=True,
        allow_origins=("https://a.example",),
        allow_hosts=("b.example", "localhost"),
    )
    assert check_exposure(Settings(server=server))[1:] == [
        "web pages: this origin, https://a.example (server.allow_origins)",
        "host names: IP addresses, localhost, c.example, b.example (server.allow_hosts)",
    ]
