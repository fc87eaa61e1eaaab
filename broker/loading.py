"""Reads settings from where they stand: a TOML file, the environment, the flags. The later of these wins.

In the environment and in flags a list is written with commas, a switch as true or false. Policies are
tables, and so stand in the file alone.

All that is wrong is said at once, a line each. A variable that starts with EXTRA_BROKER_ and names no section
is left alone, and `ignored_variables` tells of it, unless it is for the client commands or comes from a
container platform that describes a service called extra-broker.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from broker.policies import KEY as POLICIES
from broker.policies import policies_of_document
from broker.settings import (
    SECTIONS,
    SETTINGS,
    VARIABLE_PREFIX,
    Settings,
    SettingsError,
    SettingValue,
    check_exposure,
    shown,
)
from broker.suggestions import suggestion

__all__ = ["ignored_variables", "load", "origins"]

_OTHER_VARIABLES: Final = frozenset((f"{VARIABLE_PREFIX}CONFIG", f"{VARIABLE_PREFIX}URL"))

_OF_A_PLATFORM: Final = re.compile(
    rf"{VARIABLE_PREFIX}(SERVICE_(HOST|PORT)(_\w+)?=.*|PORT(_\d+_(TCP|UDP))?=(tcp|udp)://.*|PORT_\d+_(TCP|UDP)_\w+=.*)",
    re.DOTALL,
)
"""What Kubernetes sets for a service called extra-broker."""


def load(
    config: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Iterable[tuple[str, str]] = (),
) -> Settings:
    """Return the defaults, overridden by the TOML file `config`, then the environment, then the flags.

    `flags` are flags of settings as they were typed, each with its text; of two alike the last counts.

    Raises:
        SettingsError: the file cannot be read or parsed, something in the three is no setting or not allowed,
            or other machines could reach the broker without `server.allow_anonymous`. Has a line for each.
    """
    document = _parse_file(config) if config else {}
    errors: list[SettingsError] = []
    values = {
        **_values_of_document(document, config, errors),
        **_values_of_environment(environment or {}, errors),
        **_values_of_flags(flags, errors),
    }
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        own = [setting for setting in SETTINGS if setting.section == name and setting.key in values]
        sections[name] = kind(**{setting.name: values[setting.key] for setting in own})
    settings = Settings(**sections)
    policies = policies_of_document(document, config, settings, errors)
    if errors:
        raise SettingsError("\n".join([str(error) for error in errors]))
    settings = replace(settings, retention=replace(settings.retention, policies=policies))
    check_exposure(settings)
    return settings


def origins(config: str = "", environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return where each setting that is no default stands, by its key: the file or the variable.

    For settings that `load` has taken. Raises as it does.
    """
    found = dict.fromkeys(_values_of_document(_parse_file(config) if config else {}, config, []), config)
    by_variable = {setting.variable: setting.key for setting in SETTINGS}
    for variable in environment or {}:
        if variable in by_variable:
            found[by_variable[variable]] = variable
    return found


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like a setting, and is none."""
    variables = [setting.variable for setting in SETTINGS]
    lines = []
    for variable in sorted(environment):
        if not variable.startswith(VARIABLE_PREFIX) or variable in variables or variable in _OTHER_VARIABLES:
            continue
        if _OF_A_PLATFORM.fullmatch(f"{variable}={environment[variable]}") is None:
            ending = variable.removeprefix(VARIABLE_PREFIX.rstrip("_"))
            alike = [known for known in variables if known.endswith(ending)] or variables
            hint = suggestion(variable, alike, "extra-broker --help lists them")
            lines.append(f"{shown(variable)} is not a setting, and is ignored: {hint}")
    return lines


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


def _values_of_document(
    document: dict[str, Any], path: str, errors: list[SettingsError]
) -> dict[str, SettingValue]:
    by_key = {setting.key: setting for setting in SETTINGS}
    values = {}
    for section, table in document.items():
        if section == POLICIES:
            continue
        if section not in SECTIONS:
            errors.append(SettingsError(f"{path}: {_unknown(section, [*SECTIONS, POLICIES, *by_key])}"))
            continue
        if not isinstance(table, dict):
            flaw = f"{shown(table)} is not allowed: a table, [{section}]"
            errors.append(SettingsError(f"{path}: {section}: {flaw}"))
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            try:
                if key in by_key:
                    values[key] = by_key[key].accept(value, f"{path}: {key}")
                else:
                    raise SettingsError(f"{path}: {_unknown(key, [*by_key, POLICIES])}")
            except SettingsError as error:
                errors.append(error)
    return values


def _values_of_environment(
    environment: Mapping[str, str], errors: list[SettingsError]
) -> dict[str, SettingValue]:
    by_variable = {setting.variable: setting for setting in SETTINGS}
    sections = tuple(f"{VARIABLE_PREFIX}{section}_".upper() for section in SECTIONS)
    values = {}
    for variable, text in environment.items():
        try:
            if variable in by_variable:
                setting = by_variable[variable]
                values[setting.key] = setting.parse(text, variable)
            elif variable.startswith(sections):
                raise SettingsError(_unknown(variable, by_variable))
        except SettingsError as error:
            errors.append(error)
    return values


def _values_of_flags(
    flags: Iterable[tuple[str, str]], errors: list[SettingsError]
) -> dict[str, SettingValue]:
    by_flag = {setting.flag: setting for setting in SETTINGS}
    by_flag.update({setting.short_flag: setting for setting in SETTINGS if setting.short_flag})
    values = {}
    for flag, text in flags:
        try:
            values[by_flag[flag].key] = by_flag[flag].parse(text, flag)
        except SettingsError as error:
            errors.append(error)
    return values


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"{shown(name)} is not a setting: {suggestion(name, known, 'extra-broker --help lists them')}"
