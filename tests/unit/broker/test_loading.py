"""Loading settings: which source wins, what each error says, and that nothing else ever comes out."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.loading import ignored_variables, load, origins
from broker.policies import policy_table
from broker.settings import SECTIONS, SETTINGS, PolicySettings, Setting, Settings, SettingsError, describe

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes broker.toml into the working directory and returns its path, as somebody there would give it."""
    monkeypatch.chdir(tmp_path)

    def write_config(text: str) -> str:
        Path("broker.toml").write_text(text)
        return "broker.toml"

    return write_config


def refusal(*args: object, **kwargs: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(*args, **kwargs)  # type: ignore[arg-type]  # passed on as given
    return str(caught.value)


def test_nothing_given_gives_the_defaults() -> None:
    assert load() == Settings()


def test_later_sources_win(write: Write) -> None:
    """Defaults, then the file, then the environment, then flags."""
    config = write("[server]\nport = 1\nbacklog = 1\nheaders_limit = 1\n")
    environment = {"EXTRA_BROKER_SERVER_BACKLOG": "2", "EXTRA_BROKER_SERVER_HEADERS_LIMIT": "2"}
    server = load(config, environment, [("--server-headers-limit", "3")]).server
    assert (server.port, server.backlog, server.headers_limit, server.pipeline_limit) == (1, 2, 3, 16)


def test_last_of_two_flags_wins_whichever_its_spelling() -> None:
    flags = [("--port", "1"), ("--server-port", "2"), ("--port", "3")]
    assert load(flags=flags).server.port == 3
    assert load(flags=flags[:2]).server.port == 2


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_read_from_every_source(write: Write, setting: Setting) -> None:
    text, toml, value = other_value(setting.key)
    config = write(f"[{setting.section}]\n{setting.name} = {toml}\n")
    for loaded in (load(config), load("", {setting.variable: text}), load("", {}, [(setting.flag, text)])):
        assert dict(describe(loaded))[setting] == value


def other_value(key: str) -> tuple[str, str, object]:
    """Return a value that is not the default: as a text, in TOML, and as it is afterwards."""
    special: dict[str, tuple[str, str, object]] = {
        "server.host": ("localhost", '"localhost"', "localhost"),
        "server.uds": ("/run/x", '"/run/x"', "/run/x"),
        "server.app": ("rooms:app", '"rooms:app"', "rooms:app"),
        "server.reload": ("true", "true", True),
        "server.reload_dirs": ("a,b", '["a", "b"]', ("a", "b")),
        "server.allow_origins": ("http://a,http://b", '["http://a", "http://b"]', ("http://a", "http://b")),
        "server.allow_hosts": ("a,b", '["a", "b"]', ("a", "b")),
        "server.allow_anonymous": ("true", "true", True),
        "websocket.deflate": ("true", "true", True),
        "log.access": ("true", "true", True),
        "store.path": ("/var/x.db", '"/var/x.db"', "/var/x.db"),
        "store.durability": ("normal", '"normal"', "normal"),
        "log.level": ("debug", '"debug"', "debug"),
        "log.format": ("json", '"json"', "json"),
        "server.head_limit_bytes": ("1000", "1000", 1000),
        "websocket.frame_limit_bytes": ("1000", "1000", 1000),
    }
    return special.get(key, ("17", "17", 17))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[retention]\nage_s = -1", "retention.age_s: -1 is not allowed: a number of seconds, 0 or more"),
        ("[server]\nport = '80'", "server.port: '80' is not allowed: a port number, 0 to 65535"),
        ("[server]\nprot = 80", "'server.prot' is not a setting: did you mean server.port?"),
        ("[server]\nmessages = 1", "'server.messages' is not a setting: did you mean retention.messages?"),
        (
            '[server]\n"some\\nthing else" = 1',
            "'server.some\\nthing else' is not a setting: extra-broker --help lists them",
        ),
        ("port = 80", "'port' is not a setting: did you mean server.port?"),
        ("[servr]\nport = 80", "'servr' is not a setting: did you mean server?"),
        ("server = 80", "server: 80 is not allowed: a table, [server]"),
        ("[[server]]\nport = 80", "server: a list is not allowed: a table, [server]"),
        ("policies = 3", "policies: 3 is not allowed: tables, [[policies]]"),
        (
            "policies = [3]",
            "policies: a list is not allowed: tables, [[policies]]",
        ),
        ("[policies]\nfilter = 'a'", "policies: a table is not allowed: tables, [[policies]]"),
        (
            "[broker]\nmax_payload_bytes = 9\n[[policies]]\nfilter = 'a'\nmax_payload_bytes = 10",
            "policies #1: max_payload_bytes: 10 is not allowed: a whole number of bytes, 1 to 9",
        ),
        (
            "[[policies]]\nfilter = 'a'\ndurable = 1",
            "policies #1: durable: 1 is not allowed: true or false",
        ),
        (
            "[[policies]]\nfilter = 'a'\noverflow = 'drop'",
            "policies #1: overflow: 'drop' is not allowed: one of disconnect, drop-oldest, latest",
        ),
        (
            "polices = []",
            "'polices' is not a setting: did you mean policies?",
        ),
        ("[[policies]]\nage_s = 1", "policies #1: filter: is missing: the topic filter that"),
        (
            "[[policies]]\nfilter = 1",
            "policies #1: filter: 1 is not allowed: the topic filter",
        ),
        (
            "[[policies]]\nfilter = 'a/#/b'",
            "policies #1: filter: topic filter 'a/#/b' has '#'",
        ),
        (
            "[[policies]]\nfilter = 'a'\n[[policies]]\nfilter = 'b'\nage_s = -1",
            "policies #2: age_s: -1 is not allowed: a number of seconds, 0 or more",
        ),
        (
            "[[policies]]\nfilter = 'a'\nage = 1",
            "policies #1: 'age' is not a setting: did you mean age_s?",
        ),
        (
            "[[policies]]\nfilter = 'a'\n[[policies]]\nfilter = 'a'",
            "policies #2: filter: 'a' has a policy already",
        ),
        ("[server\n", "is not TOML: Expected ']' at the end of a table declaration (at line 1, column 8)"),
        ("a = " + "[" * 5000, "is not TOML that can be read: nested too deeply"),
        ("[server]\nport = " + "9" * 5000, "is not TOML: Exceeds the limit"),
        ("[server]\nport = 0x" + "f" * 5000, "server.port: 0xfffff"),
    ],
)
def test_error_names_the_file_the_key_and_what_is_allowed(write: Write, text: str, message: str) -> None:
    assert refusal(write(text)).startswith(f"broker.toml: {message}")


def test_file_that_is_missing_is_named() -> None:
    assert refusal("/nowhere/broker.toml") == (
        "/nowhere/broker.toml: cannot be read: No such file or directory"
    )


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_bytes(b"# \xff")
    assert refusal(str(path)).startswith(f"{path}: is not TOML: 'utf-8' codec can't decode")


def test_error_in_the_environment_names_the_variable() -> None:
    assert refusal("", {"EXTRA_BROKER_SERVER_PORT": "x"}) == (
        "EXTRA_BROKER_SERVER_PORT: 'x' is not allowed: a port number, 0 to 65535"
    )
    assert refusal("", {"EXTRA_BROKER_SERVER_PROT": "1"}) == (
        "'EXTRA_BROKER_SERVER_PROT' is not a setting: did you mean EXTRA_BROKER_SERVER_PORT?"
    )


def test_variables_of_others_are_left_alone() -> None:
    """A container platform describes a service called extra-broker in variables of this kind."""
    environment = {"EXTRA_BROKER_URL": "x", "EXTRA_BROKER_PORT": "tcp://10.0.0.1:8080", "SERVER_PORT": "x"}
    assert load("", environment) == Settings()


def test_error_in_a_flag_names_the_flag_as_typed() -> None:
    assert refusal(flags=[("--port", "x")]) == "--port: 'x' is not allowed: a port number, 0 to 65535"
    assert refusal(flags=[("--server-port", "x")]).startswith("--server-port: 'x'")


def test_policy_takes_what_it_does_not_say_from_the_section(write: Write) -> None:
    """Also when that comes from the environment."""
    config = write(
        "[retention]\nmessages = 5\n"
        "[[policies]]\nfilter = 'a/#'\nage_s = 1\n"
        "[[policies]]\nfilter = 'b'\nmessages = 0\ntopic_limit_bytes = 9\n"
    )
    settings = load(config, {"EXTRA_BROKER_RETENTION_MESSAGES": "7"})
    table = policy_table(settings)
    assert (table.policy("a/b").messages, table.policy("a/b").age_s) == (7, 1.0)
    assert (table.policy("b").messages, table.policy("b").topic_limit_bytes) == (0, 9)
    assert settings.retention.policies == (
        PolicySettings("a/#", 1, {"age_s": 1.0}),
        PolicySettings("b", 2, {"messages": 0, "topic_limit_bytes": 9}),
    )


def test_broker_does_not_load_settings_that_expose_it() -> None:
    assert "server.allow_anonymous" in refusal(flags=[("--host", "0.0.0.0")])
    flags = [("--host", "0.0.0.0"), ("--server-allow-anonymous", "true")]
    assert load(flags=flags).server.allow_anonymous


def toml_of(value: object) -> str:
    """Write a value as TOML, inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(value) if math.isfinite(value) else str(value).replace("Infinity", "inf")
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08X}" for character in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml_of, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_of(key)} = {toml_of(item)}" for key, item in value.items()) + "}"
    return str(value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["a/#", "::1", "info"]
)
SCALARS = st.booleans() | st.integers() | st.floats() | TEXTS | st.dates() | st.times() | st.just("::")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([setting.name for setting in SETTINGS] + ["policy", "prot"]) | TEXTS
POLICIES = st.lists(
    st.dictionaries(st.sampled_from(["filter", "messages", "age_s", "topic_limit_bytes"]), SCALARS),
    max_size=3,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=4) | st.fixed_dictionaries({"policy": POLICIES})
DOCUMENTS = st.dictionaries(st.sampled_from(list(SECTIONS)) | TEXTS, TABLES | VALUES, max_size=4)


@pytest.mark.slow
@given(document=DOCUMENTS)
@hypothesis_settings(max_examples=100, deadline=None)
@example(document={"retention": {"policy": [{"filter": "a", "age_s": 10**400}]}})
@example(document={"retention": {"policy": {"filter": "a"}}})
@example(document={"retention": 1})
def test_any_document_gives_settings_or_the_error(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("".join(f"{toml_of(key)} = {toml_of(value)}\n" for key, value in document.items()))
    outcome(str(path))


@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_file_gives_settings_or_the_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(content)
    outcome(str(path))


@given(
    environment=st.dictionaries(
        st.sampled_from([setting.variable for setting in SETTINGS])
        | st.text(max_size=9).map("EXTRA_BROKER_LOG_".__add__),
        st.text(max_size=20) | st.integers().map(str) | st.floats().map(str),
        max_size=3,
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_environment_gives_settings_or_the_error(environment: dict[str, str]) -> None:
    outcome("", environment)


def outcome(config: str, environment: dict[str, str] | None = None) -> None:
    """Load, and hold what comes out to what is promised: valid settings, or one printable line."""
    message = ""
    try:
        settings = load(config, environment)
    except SettingsError as error:
        message = str(error)
        settings = Settings()
    assert all(line.isprintable() and len(line) < 500 for line in message.split("\n"))
    for setting, value in describe(settings):
        setting.accept(list(value) if isinstance(value, tuple) else value, "again")


def test_all_that_is_wrong_is_said_at_once(write: Write) -> None:
    config = write(
        "nonsense = 1\n[server]\nport = -1\nbacklog = 'x'\nbaklog = 1\n"
        "[[policies]]\nmessages = 1\n[[policies]]\nfilter = 'a#'\n"
    )
    environment = {"EXTRA_BROKER_SERVER_PORT": "x", "EXTRA_BROKER_SERVER_PROT": "1"}
    lines = refusal(config, environment, [("--port", "y"), ("--server-backlog", "0")]).split("\n")
    starts = [
        "broker.toml: 'nonsense'",
        "broker.toml: server.port: -1",
        "broker.toml: server.backlog: 'x'",
        "broker.toml: 'server.baklog'",
        "EXTRA_BROKER_SERVER_PORT: 'x'",
        "'EXTRA_BROKER_SERVER_PROT'",
        "--port: 'y'",
        "--server-backlog: 0",
        "broker.toml: policies #1: filter: is missing",
        "broker.toml: policies #2: filter: ",
    ]
    assert len(lines) == len(starts)
    assert [line for line, start in zip(lines, starts, strict=True) if not line.startswith(start)] == []


def test_variables_that_look_like_settings_and_are_none_are_told_of() -> None:
    environment = {
        "EXTRA_BROKER_PORT": "8081",
        "EXTRA_BROKER_FOO": "1",
        "EXTRA_BROKER_SERVER_PORT": "1",
        "EXTRA_BROKER_URL": "http://x",
        "EXTRA_BROKER_CONFIG": "x",
        "OTHER": "1",
    }
    foo, port = ignored_variables(environment)
    assert foo.startswith("'EXTRA_BROKER_FOO' is not a setting, and is ignored: ")
    assert port.startswith("'EXTRA_BROKER_PORT' is not a setting, and is ignored: ")
    assert port.endswith("did you mean EXTRA_BROKER_SERVER_PORT?")


def test_variables_of_a_container_platform_are_not_told_of() -> None:
    """Kubernetes, Service, environment variables: docker's links of a service called extra-broker."""
    environment = {
        "EXTRA_BROKER_SERVICE_HOST": "10.0.0.11",
        "EXTRA_BROKER_SERVICE_PORT": "8080",
        "EXTRA_BROKER_SERVICE_PORT_HTTP": "8080",
        "EXTRA_BROKER_PORT": "tcp://10.0.0.11:8080",
        "EXTRA_BROKER_PORT_8080_TCP": "tcp://10.0.0.11:8080",
        "EXTRA_BROKER_PORT_8080_TCP_PROTO": "tcp",
        "EXTRA_BROKER_PORT_8080_TCP_ADDR": "10.0.0.11",
    }
    assert ignored_variables(environment) == []


def test_it_is_known_where_a_setting_stands(write: Write) -> None:
    config = write("[retention]\nmessages = 5\nage_s = 1\n[[policies]]\nfilter = 'a'\n")
    environment = {"EXTRA_BROKER_RETENTION_AGE_S": "2", "EXTRA_BROKER_CONFIG": config}
    assert origins(config, environment) == {
        "retention.messages": "broker.toml",
        "retention.age_s": "EXTRA_BROKER_RETENTION_AGE_S",
    }
    assert origins() == {}
