"""Reads settings from where they stand: a TOML file, the environment, the flags. The later of these wins.

In the environment and in flags a list is written with commas, a switch as true or false. Retention policies
are tables, and so stand in the file alone.

A variable that starts with EXTRA_BROKER_ and names no section is left alone: it is for the client commands,
or comes from a container platform that describes a service called extra-broker.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from broker.settings import (
    SECTIONS,
    SETTINGS,
    VARIABLE_PREFIX,
    RetentionPolicy,
    RetentionSettings,
    Settings,
    SettingsError,
    SettingValue,
    check_exposure,
    shown,
)
from broker.suggestions import suggestion

__all__ = ["load"]

_POLICY_KEY: Final = "retention.policy"


def load(
    config: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Iterable[tuple[str, str]] = (),
) -> Settings:
    """Return the defaults, overridden by the TOML file `config`, then the environment, then the flags.

    `flags` are flags of settings as they were typed, each with its text; of two alike the last counts.

    Raises:
        SettingsError: the file cannot be read or parsed, something in the three is no setting or not allowed,
            or other machines could reach the broker without `server.allow_anonymous`.
    """
    document = _parse_file(config) if config else {}
    values = {
        **_values_of_document(document, config),
        **_values_of_environment(environment or {}),
        **_values_of_flags(flags),
    }
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        own = [setting for setting in SETTINGS if setting.section == name and setting.key in values]
        sections[name] = kind(**{setting.name: values[setting.key] for setting in own})
    policies = _policies_of_document(document, config, sections["retention"])
    sections["retention"] = replace(sections["retention"], policies=policies)
    settings = Settings(**sections)
    check_exposure(settings)
    return settings


def _parse_file(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise SettingsError(f"{path}: is not TOML that can be read: nested too deeply") from None
    except ValueError as error:  # bad syntax, bad UTF-8, a number with too many digits
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _values_of_document(document: dict[str, Any], path: str) -> dict[str, SettingValue]:
    by_key = {setting.key: setting for setting in SETTINGS}
    values = {}
    for section, table in document.items():
        if section not in SECTIONS:
            raise SettingsError(f"{path}: {_unknown(section, [*SECTIONS, *by_key])}")
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {section}: {shown(table)} is not allowed: a table, [{section}]")
        for name, value in table.items():
            key = f"{section}.{name}"
            if key in by_key:
                values[key] = by_key[key].accept(value, f"{path}: {key}")
            elif key != _POLICY_KEY:
                raise SettingsError(f"{path}: {_unknown(key, [*by_key, _POLICY_KEY])}")
    return values


def _policies_of_document(
    document: dict[str, Any], path: str, default: RetentionSettings
) -> tuple[RetentionPolicy, ...]:
    tables = document.get("retention", {}).get("policy", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(
            f"{path}: {_POLICY_KEY}: {shown(tables)} is not allowed: tables, [[{_POLICY_KEY}]]"
        )
    policies: dict[str, RetentionPolicy] = {}
    for number, table in enumerate(tables, 1):
        policy = _policy_of_table(table, f"{path}: {_POLICY_KEY} #{number}", default)
        if policy.filter in policies:
            raise SettingsError(
                f"{path}: {_POLICY_KEY} #{number}: filter: {shown(policy.filter)} has a policy already"
            )
        policies[policy.filter] = policy
    return tuple(policies.values())


def _policy_of_table(table: dict[str, Any], where: str, default: RetentionSettings) -> RetentionPolicy:
    from extra.errors import InvalidFilter
    from extra.topics import check_filter

    names = [policy_field.name for policy_field in fields(RetentionPolicy)]
    by_name = {setting.name: setting for setting in SETTINGS if setting.section == "retention"}
    for name in table:
        if name not in names:
            raise SettingsError(f"{where}: {_unknown(name, names)}")
    topic_filter = table.get("filter")
    if not isinstance(topic_filter, str):
        found = "is missing" if topic_filter is None else f"{shown(topic_filter)} is not allowed"
        raise SettingsError(f"{where}: filter: {found}: the topic filter that the policy is for")
    try:
        check_filter(topic_filter)
    except InvalidFilter as error:
        raise SettingsError(f"{where}: filter: {error}") from None
    values: dict[str, Any] = {
        name: by_name[name].accept(table[name], f"{where}: {name}")
        if name in table
        else getattr(default, name)
        for name in names
        if name != "filter"
    }
    return RetentionPolicy(topic_filter, **values)


def _values_of_environment(environment: Mapping[str, str]) -> dict[str, SettingValue]:
    by_variable = {setting.variable: setting for setting in SETTINGS}
    sections = tuple(f"{VARIABLE_PREFIX}{section}_".upper() for section in SECTIONS)
    values = {}
    for variable, text in environment.items():
        if variable in by_variable:
            setting = by_variable[variable]
            values[setting.key] = setting.parse(text, variable)
        elif variable.startswith(sections):
            raise SettingsError(_unknown(variable, by_variable))
    return values


def _values_of_flags(flags: Iterable[tuple[str, str]]) -> dict[str, SettingValue]:
    by_flag = {setting.flag: setting for setting in SETTINGS}
    by_flag.update({setting.short_flag: setting for setting in SETTINGS if setting.short_flag})
    return {by_flag[flag].key: by_flag[flag].parse(text, flag) for flag, text in flags}


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"{shown(name)} is not a setting: {suggestion(name, known, 'extra-broker --help lists them')}"
