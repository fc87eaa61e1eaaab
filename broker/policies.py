"""Policies by topic filter, from the `[[policies]]` tables of the configuration to the engine.

A table says what is different on the topics that its filter matches; what it leaves out is as `[retention]`
and `[broker]` say, whatever shorter filters match as well. Which filter counts is told in
`extra.pubsub.retention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from broker.settings import SETTINGS, PolicySettings, Setting, Settings, SettingsError, describe, shown
from broker.suggestions import suggestion

if TYPE_CHECKING:  # `extra-broker --help` needs neither of them, and loads in half the time without
    from extra.pubsub import Policy, PolicyTable

__all__ = [
    "KEY",
    "POLICY_SETTINGS",
    "RELOADED",
    "changes",
    "policies_of_document",
    "policy_table",
    "value_of",
]

KEY: Final = "policies"
"""What the tables are called in the file."""

_KNOWN: Final = {setting.key: setting for setting in SETTINGS}

POLICY_SETTINGS: Final[tuple[Setting, ...]] = (
    _KNOWN["retention.messages"],
    _KNOWN["retention.age_s"],
    _KNOWN["retention.topic_limit_bytes"],
    _KNOWN["broker.max_payload_bytes"],
    Setting(
        section=KEY,
        name="retained",
        default=True,
        help="whether messages can be retained",
        noun="true or false",
        metavar="",
    ),
    Setting(
        section=KEY,
        name="durable",
        default=True,
        help="whether messages go into the store, if there is one",
        noun="true or false",
        metavar="",
    ),
    Setting(
        section=KEY,
        name="overflow",
        default="disconnect",
        help="what happens to subscribers that do not keep up and name no overflow",
        noun="one of disconnect, drop-oldest, latest",
        metavar="WHICH",
        choices=("disconnect", "drop-oldest", "latest"),
    ),
)
"""What a policy says, apart from its filter. The first four have their defaults in other sections."""

RELOADED: Final = frozenset(setting.key for setting in POLICY_SETTINGS if setting.section == "retention")
"""The settings that a reload takes over, besides the policies."""


def value_of(policy: PolicySettings | None, setting: Setting, settings: Settings) -> Any:
    """Return what a policy says of one of `POLICY_SETTINGS`; with None, what holds without one."""
    if policy is not None and setting.name in policy.values:
        return policy.values[setting.name]
    if setting.section == KEY:
        return setting.default
    return getattr(getattr(settings, setting.section), setting.name)


def policy_table(settings: Settings) -> PolicyTable:
    """Return the policies of the settings, for an engine."""
    from extra.pubsub import PolicyTable

    return PolicyTable(
        _policy(None, settings),
        [(each.filter, _policy(each, settings)) for each in settings.retention.policies],
    )


def policies_of_document(
    document: Mapping[str, Any], path: str, settings: Settings, errors: list[SettingsError]
) -> tuple[PolicySettings, ...]:
    """Return the policies of a TOML file that has been parsed; what is wrong goes into `errors`."""
    tables = document.get(KEY, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        errors.append(SettingsError(f"{path}: {KEY}: {shown(tables)} is not allowed: tables, [[{KEY}]]"))
        return ()
    policies: dict[str, PolicySettings] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: {KEY} #{number}"
        try:
            policy = _policy_of_table(table, number, where, settings)
            if policy.filter in policies:
                raise SettingsError(f"{where}: filter: {shown(policy.filter)} has a policy already")
            policies[policy.filter] = policy
        except SettingsError as error:
            errors.append(error)
    return tuple(policies.values())


def changes(old: Settings, new: Settings) -> Iterator[str]:
    """Yield a line for each difference: of the policies, and of what only a restart changes."""
    former = {policy.filter: policy for policy in old.retention.policies}
    later = {policy.filter: policy for policy in new.retention.policies}
    for topic_filter in {**former, **later}:
        if topic_filter not in later:
            yield f"policy {topic_filter!r}: gone"
        elif topic_filter not in former:
            yield f"policy {topic_filter!r}: new: {_listed(later[topic_filter])}"
        elif former[topic_filter].values != later[topic_filter].values:
            was, now = _listed(former[topic_filter]), _listed(later[topic_filter])
            yield f"policy {topic_filter!r}: {now}, and was {was}"
    values = dict(describe(old))
    for setting, value in describe(new):
        if values[setting] == value:
            continue
        if setting.key in RELOADED:
            yield f"{setting.key}: {shown(value)}, and was {shown(values[setting])}"
        else:
            yield f"{setting.key}: has changed, which takes a restart"


def _policy(policy: PolicySettings | None, settings: Settings) -> Policy:
    from extra.pubsub import Policy

    values = {setting.name: value_of(policy, setting, settings) for setting in POLICY_SETTINGS}
    return Policy(**values)


def _policy_of_table(table: dict[str, Any], number: int, where: str, settings: Settings) -> PolicySettings:
    from extra.errors import InvalidFilter
    from extra.topics import check_filter

    by_name = {setting.name: setting for setting in POLICY_SETTINGS}
    payload = by_name["max_payload_bytes"]
    by_name["max_payload_bytes"] = replace(payload, high=settings.broker.max_payload_bytes)
    names = ["filter", *by_name]
    for name in table:
        if name not in names:
            hint = suggestion(name, names, "extra-broker --help lists them")
            raise SettingsError(f"{where}: {shown(name)} is not a setting: {hint}")
    topic_filter = table.get("filter")
    if not isinstance(topic_filter, str):
        found = "is missing" if topic_filter is None else f"{shown(topic_filter)} is not allowed"
        raise SettingsError(f"{where}: filter: {found}: the topic filter that the policy is for")
    try:
        check_filter(topic_filter)
    except InvalidFilter as error:
        raise SettingsError(f"{where}: filter: {error}") from None
    values = {
        name: setting.accept(table[name], f"{where}: {name}")
        for name, setting in by_name.items()
        if name in table
    }
    return PolicySettings(topic_filter, number, values)


def _listed(policy: PolicySettings) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in policy.values.items()) or "as without one"
