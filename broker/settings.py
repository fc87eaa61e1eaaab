"""The daemon's settings: what there is, where each one is found, and what it may be.

A setting is one field of one section; all else about it is derived from there. `server.port` is `port` under
`[server]` in the TOML file, EXTRA_BROKER_SERVER_PORT in the environment and `--server-port` among the flags.
`broker.loading` reads them.
"""

import re
import sys
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from math import inf
from typing import Any, Final, TypeAlias, TypeVar, final

__all__ = [
    "SECTIONS",
    "SETTINGS",
    "VARIABLE_PREFIX",
    "BrokerSettings",
    "LogSettings",
    "PolicySettings",
    "PollSettings",
    "RetentionSettings",
    "SSESettings",
    "ServerSettings",
    "Setting",
    "SettingValue",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "WebSocketSettings",
    "check_exposure",
    "describe",
    "shown",
]

SettingValue: TypeAlias = bool | int | float | str | tuple[str, ...]

VARIABLE_PREFIX: Final = "EXTRA_BROKER_"

_HOST: Final = r"[0-9A-Za-z_.-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(%[0-9A-Za-z_.-]+)?"
_HOST_NAME: Final = r"[0-9A-Za-z_.-]+"
_ORIGIN: Final = r"[A-Za-z][0-9A-Za-z+.-]*://([0-9A-Za-z_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
_PATH: Final = r"[^\0]*"
_APP: Final = r"([0-9A-Za-z_.]+(:[0-9A-Za-z_.]+)?)?"

_SHOWN_CHARACTERS: Final = 60

_T = TypeVar("_T")
_Number = TypeVar("_Number", bound=int | float)


class SettingsError(Exception):
    """A setting is unknown, or has a value that it may not have. Says where it stands and what is allowed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of one setting. The type of `default` is the type of the setting.

    `noun` says in words what the value is, the unit of a number included. A number lies from `low` to `high`,
    both included. A text, or each item of a list, is one of `choices`, or else matches `pattern` as a whole.
    """

    section: str
    name: str
    default: SettingValue
    help: str
    noun: str
    metavar: str
    low: float = 0
    high: float = inf
    choices: tuple[str, ...] = ()
    pattern: str = ""
    short_flag: str = ""

    @property
    def key(self) -> str:
        """How it is called everywhere: `server.port`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        return f"{VARIABLE_PREFIX}{self.section}_{self.name}".upper()

    @property
    def flag(self) -> str:
        return f"--{self.section}-{self.name}".replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)

    @property
    def allowed(self) -> str:
        """What it may be: `a number of seconds, 0 or more`."""
        if isinstance(self.default, bool | str | tuple):
            return self.noun
        return f"{self.noun}, {self.low} " + ("or more" if self.high == inf else f"to {self.high}")

    def accept(self, value: object, where: str) -> SettingValue:
        """Return a value that TOML has typed as this setting's own type; whole numbers pass for any number.

        Raises:
            SettingsError: it is not allowed; the message starts with `where`.
        """
        if isinstance(self.default, tuple) and isinstance(value, list):
            for item in value:
                if not isinstance(item, str) or not self._fits(item):
                    raise self._refusal(item, where)
            return tuple(value)
        typed = value
        if isinstance(self.default, float) and type(value) is int and abs(value) <= sys.float_info.max:
            typed = float(value)
        same_type = type(typed) is type(self.default)  # exactly: Python takes a bool for an int
        if not (isinstance(typed, bool | int | float | str) and same_type and self._fits(typed)):
            raise self._refusal(value, where)
        return typed

    def parse(self, text: str, where: str) -> SettingValue:
        """Return the value that a text from the environment or a flag stands for; raises as `accept` does."""
        value: object = text
        try:
            if self.is_switch:
                value = {"true": True, "false": False}.get(text, text)
            elif isinstance(self.default, tuple):
                value = [item.strip() for item in text.split(",") if item.strip()]
            elif not isinstance(self.default, str):
                value = type(self.default)(text)
        except ValueError:
            pass  # no number: then it is refused as the text that it is
        return self.accept(value, where)

    def _fits(self, value: bool | int | float | str) -> bool:
        if isinstance(value, str):
            return value in self.choices if self.choices else re.fullmatch(self.pattern, value) is not None
        return self.low <= value <= self.high and value != inf

    def _refusal(self, value: object, where: str) -> SettingsError:
        return SettingsError(f"{where}: {shown(value)} is not allowed: {self.allowed}")


def _setting(default: _T, help: str, noun: str, metavar: str, **more: object) -> _T:
    return field(default=default, metadata={"help": help, "noun": noun, "metavar": metavar, **more})


def _switch(default: bool, help: str) -> bool:
    return _setting(default, help, "true or false", "")


def _number(default: _Number, unit: str, help: str, **more: object) -> _Number:
    kind = "whole number" if isinstance(default, int) else "number"
    return _setting(default, help, f"a {kind} of {unit}", "N", **more)


def _choice(default: str, choices: tuple[str, ...], metavar: str, help: str) -> str:
    return _setting(default, help, f"one of {', '.join(choices)}", metavar, choices=choices)


@final
@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Listening, and what a connection may do."""

    host: str = _setting(
        "127.0.0.1",
        "address or name to listen on; beyond loopback needs server.allow_anonymous",
        "an IP address or a host name",
        "HOST",
        pattern=_HOST,
        short_flag="--host",
    )
    port: int = _setting(
        8080,
        "TCP port to listen on; 0 picks a free one and prints it",
        "a port number",
        "N",
        high=65_535,
        short_flag="--port",
    )
    uds: str = _setting(
        "",
        "Unix socket to listen on, instead of host and port",
        "the path of a socket",
        "PATH",
        pattern=_PATH,
    )
    app: str = _setting(
        "",
        "services to serve besides, on the same broker",
        "the name of an application, as module:app",
        "APP",
        pattern=_APP,
        short_flag="--app",
    )
    reload: bool = _setting(
        False,
        "swap the services when a file of theirs changes; needs watchfiles",
        "true or false",
        "",
        short_flag="--reload",
    )
    reload_dirs: tuple[str, ...] = _setting(
        (),
        "directories that are watched for that, instead of the current one",
        "a list of directories",
        "LIST",
        pattern=_PATH,
    )
    allow_anonymous: bool = _switch(
        False, "listen beyond loopback, where anybody who reaches it may read and publish"
    )
    allow_origins: tuple[str, ...] = _setting(
        (),
        "foreign web pages that may read and publish, by origin",
        "a list of origins such as https://app.example.org",
        "LIST",
        pattern=_ORIGIN,
    )
    allow_hosts: tuple[str, ...] = _setting(
        (),
        "names that the broker may be asked for by, besides localhost and server.host",
        "a list of host names, without ports",
        "LIST",
        pattern=_HOST_NAME,
    )
    drain_window_s: float = _number(
        5.0, "seconds", "how long clients have to leave at shutdown, and to return over", high=3600
    )
    connections_limit: int = _number(
        100_000, "connections", "most open connections; one more is answered 503", low=1
    )
    backlog: int = _number(
        4096, "connections", "connections that the kernel holds until they are accepted", low=1, high=65_535
    )
    head_limit_bytes: int = _number(
        32_768, "bytes", "largest head of a request: request line and headers", low=256, high=16_777_216
    )
    headers_limit: int = _number(100, "headers", "most headers in one request", low=1, high=10_000)
    head_timeout_s: float = _number(
        10.0, "seconds", "longest that the head of a request may take to arrive", low=0.1, high=3600
    )
    body_timeout_s: float = _number(
        30.0, "seconds", "longest that the body of a request may take to arrive", low=0.1, high=3600
    )
    idle_timeout_s: float = _number(
        75.0, "seconds", "longest that an HTTP connection may wait for its next request", low=0.1, high=86_400
    )
    write_timeout_s: float = _number(
        30.0, "seconds", "longest that a client may take nothing of what waits for it", low=0.1, high=3600
    )
    write_high_water_bytes: int = _number(
        65_536,
        "bytes",
        "unsent bytes at which writing to a connection pauses",
        low=1,
        high=1_073_741_824,
    )
    receive_limit_bytes: int = _number(
        268_435_456,
        "bytes",
        "most that all unfinished requests and messages take together; beyond, 503 or 1013",
        low=1,
    )
    pipeline_limit: int = _number(
        16, "requests", "most requests of one connection that are read ahead", low=1, high=1000
    )


@final
@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What is published, and what is kept for whom."""

    max_payload_bytes: int = _number(1_048_576, "bytes", "largest payload", low=1)
    max_topic_bytes: int = _number(65_535, "bytes", "longest topic or filter, in UTF-8", low=1, high=65_535)
    max_topic_levels: int = _number(128, "levels", "most levels in a topic or filter", low=1, high=128)
    outbox_limit_bytes: int = _number(
        1_048_576, "bytes", "most that may wait for one subscriber; beyond, it is slow", low=1
    )
    subscriptions_limit: int = _number(
        1000, "filters", "most filters that one connection is subscribed to", low=1
    )
    subscriptions_limit_bytes: int = _number(
        262_144, "bytes", "most that the filters of one connection take together", low=1
    )
    retained_limit_messages: int = _number(100_000, "messages", "most retained messages; 0 retains none")
    retained_limit_bytes: int = _number(
        67_108_864, "bytes", "most that retained messages take together; 0 retains none"
    )
    idempotency_limit_keys: int = _number(100_000, "keys", "most idempotency keys that are remembered")
    idempotency_window_s: float = _number(120.0, "seconds", "how long an idempotency key is remembered")
    scheduled_limit_messages: int = _number(
        10_000, "messages", "most messages that wait to be published later; 0 takes none"
    )
    scheduled_limit_bytes: int = _number(
        16_777_216, "bytes", "most that messages take together that wait to be published later"
    )
    presence_limit_members: int = _number(100_000, "members", "most members present; 0 takes none")
    presence_told_members: int = _number(
        1_000, "members", "a topic with more members tells their number alone, once a second"
    )
    presence_data_limit_bytes: int = _number(1024, "bytes", "most that a member shows", low=4)
    presence_grace_s: float = _number(10.0, "seconds", "how long a member whose connection is lost stays")
    named_sessions_limit: int = _number(10_000, "sessions", "most named sessions; 0 takes none")
    session_expiry_s: float = _number(
        604_800.0, "seconds", "how long a named session is kept that nobody holds", low=1
    )
    groups_limit: int = _number(1000, "groups", "most groups; 0 takes none")
    group_members_limit: int = _number(1000, "members", "most members of one group", low=1)
    group_window_limit_messages: int = _number(
        10_000, "messages", "how far a group reads ahead of what is not acknowledged", low=1
    )
    group_window_limit_bytes: int = _number(
        16_777_216, "bytes", "most that messages take together which one group has read", low=1
    )
    group_expiry_s: float = _number(
        604_800.0, "seconds", "how long a group is kept that has no members", low=1
    )
    match_cache_topics: int = _number(4096, "topics", "most topics whose subscribers are remembered", low=1)
    batch_limit_messages: int = _number(10_000, "messages", "most messages in one POST /publish", low=1)


@final
@dataclass(frozen=True, slots=True)
class PolicySettings:
    """A `[[policies]]` table, by its number in the file: `values` has what it says, by name."""

    filter: str
    number: int
    values: dict[str, SettingValue]


@final
@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What the log keeps, so that those who were away can resume."""

    messages: int = _number(100, "messages", "most messages that a topic keeps; 0 keeps none")
    age_s: float = _number(600.0, "seconds", "how long a topic keeps a message; 0 keeps none")
    topic_limit_bytes: int = _number(16_777_216, "bytes", "most that a topic keeps; 0 keeps none")
    total_limit_bytes: int = _number(268_435_456, "bytes", "most that all topics keep together; 0 keeps none")
    topics_limit: int = _number(1_000_000, "topics", "most topics that are known", low=1)
    policies: tuple[PolicySettings, ...] = ()
    """The `[[policies]]` tables of the file. The longest filter that matches a topic counts."""


@final
@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The file that keeps what is published when the broker ends."""

    path: str = _setting(
        "",
        "file that the log is kept in, made if it is not there; none: in memory, gone with the process",
        "the path of a file",
        "PATH",
        pattern=_PATH,
        short_flag="--store",
    )
    durability: str = _choice(
        "full", ("full", "normal"), "WHICH", "when a message counts as kept: full or normal, see below"
    )
    queue_limit_messages: int = _number(
        10_000, "messages", "most messages that wait for the disk; publishing beyond waits", low=1
    )
    queue_limit_bytes: int = _number(
        67_108_864, "bytes", "most that messages take that wait for the disk; publishing beyond waits", low=1
    )


@final
@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """WebSocket connections."""

    frame_limit_bytes: int = _number(
        2_097_152, "bytes", "largest frame from a client", low=126, high=1_073_741_824
    )
    ping_interval_s: float = _number(
        25.0, "seconds", "silence after which a ping is sent", low=0.1, high=86_400
    )
    ping_timeout_s: float = _number(
        20.0, "seconds", "longest that the answer to a ping may take", low=0.1, high=3600
    )
    close_timeout_s: float = _number(
        2.0, "seconds", "longest that the answer to a close frame may take", low=0.1, high=3600
    )
    deflate: bool = _switch(False, "compress for clients that offer it; costs CPU time for each message")
    commands_limit: int = _number(1000, "commands", "most commands in one frame", low=1)


@final
@dataclass(frozen=True, slots=True)
class SSESettings:
    """Server-Sent Events."""

    heartbeat_s: float = _number(
        15.0, "seconds", "silence after which a comment is sent", low=0.1, high=86_400
    )
    retry_ms: int = _number(
        2000, "milliseconds", "how long clients are told to wait before they reconnect", high=86_400_000
    )


@final
@dataclass(frozen=True, slots=True)
class PollSettings:
    """Long-polling."""

    wait_limit_s: float = _number(60.0, "seconds", "longest wait that a client is granted", low=1, high=3600)


@final
@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    level: str = _choice(
        "info",
        ("debug", "info", "warning", "error"),
        "LEVEL",
        "least severity that is logged: debug, info, warning, error",
    )
    format: str = _choice(
        "auto",
        ("auto", "text", "json"),
        "FORMAT",
        "text, json (an object a line), or auto: text on a terminal, json elsewhere",
    )
    access: bool = _switch(False, "log each request")


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, by section; `Settings()` has the defaults. Made by `load`, never changed."""

    server: ServerSettings = field(default_factory=ServerSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    sse: SSESettings = field(default_factory=SSESettings)
    poll: PollSettings = field(default_factory=PollSettings)
    log: LogSettings = field(default_factory=LogSettings)


_DEFAULTS: Final = Settings()

SECTIONS: Final[dict[str, type[Any]]] = {
    section.name: type(getattr(_DEFAULTS, section.name)) for section in fields(Settings)
}
"""The class of each section, by name; its docstring is its heading in `--help`."""

SETTINGS: Final[tuple[Setting, ...]] = tuple(
    Setting(section=section, name=known.name, default=getattr(kind(), known.name), **known.metadata)
    for section, kind in SECTIONS.items()
    for known in fields(kind)
    if known.metadata
)
"""Every setting but the policies, in the order of the sections."""


def describe(settings: Settings) -> list[tuple[Setting, SettingValue]]:
    """Return every setting but the policies with its value, in the order of the sections."""
    return [(setting, getattr(getattr(settings, setting.section), setting.name)) for setting in SETTINGS]


def check_exposure(settings: Settings) -> list[str]:
    """Return lines for the log that say what is open to whom, each with the setting that would change it.

    Raises:
        SettingsError: other machines could reach the broker, and nothing says that they may.
    """
    server = settings.server
    if server.uds:
        reach = f"whoever may open the socket {server.uds} (server.uds)"
    elif _is_loopback(server.host):
        reach = f"this machine only ({server.host})"
    elif server.allow_anonymous:
        reach = f"anybody who can reach {server.host}, to read and to publish (server.allow_anonymous)"
    else:
        raise SettingsError(
            f"server.host: {server.host} is more than this machine, and nobody is asked who they are: set "
            "server.allow_anonymous to true (--server-allow-anonymous) if anybody may read and publish"
        )
    pages = ", ".join(["this origin", *server.allow_origins]) if server.allow_origins else "this origin only"
    own_name = [] if _is_address(server.host) else [server.host]
    names = ", ".join(dict.fromkeys(["IP addresses", "localhost", *own_name, *server.allow_hosts]))
    return [
        f"open to: {reach}",
        f"web pages: {pages} (server.allow_origins)",
        f"host names: {names} (server.allow_hosts)",
    ]


def shown(value: object) -> str:
    """Return a value from a file, variable or flag as one would write it, on one line and short."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        text = str(value) if abs(value) < 2**64 else hex(value)  # str() refuses thousands of digits
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if _is_address(host) else host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
