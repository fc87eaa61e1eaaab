"""`extra-broker policy`: which policy counts for a topic, and where each of its values comes from."""

import json
import os
from collections.abc import Sequence
from typing import Final

from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION
from broker.commands.streams import write_out
from broker.loading import load, origins
from broker.policies import KEY, POLICY_SETTINGS, policy_table, value_of
from broker.settings import PolicySettings, SettingsError, shown
from extra.errors import InvalidTopic
from extra.topics import check_topic

__all__ = ["run"]

JSON_OPTION: Final = Option("--json", "", "print one object")
OPTIONS: Final = (CONFIG_OPTION, JSON_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker policy TOPIC [OPTIONS]

Print which [[policies]] table of the configuration counts for a topic, what holds there, and where
each value comes from. The longest filter that matches counts: the one with most levels that are no
wildcards; of two with as many, the narrower one at the first level where they differ.

Options
{options}

Exit status
  0  it is printed
  2  called wrongly, or something in the configuration is wrong

Example
  extra-broker policy site/kitchen/temp --config broker.toml
"""


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense, or a setting is wrong.
        StreamError: standard output cannot be written.
    """
    given, arguments = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if len(arguments) != 1:
        raise UsageError(f"policy takes TOPIC, not {len(arguments)} arguments")
    topic = arguments[0]
    config = options.get(CONFIG_OPTION.flag, os.environ.get("EXTRA_BROKER_CONFIG", ""))
    try:
        check_topic(topic)
        settings = load(config, os.environ)
        sources = origins(config, os.environ)
    except (InvalidTopic, SettingsError) as error:
        raise UsageError(str(error)) from None
    winner = policy_table(settings).winner(topic)
    policy = next((each for each in settings.retention.policies if each.filter == winner), None)
    rows = []
    for setting in POLICY_SETTINGS:
        if policy is not None and setting.name in policy.values:
            source = _place(policy, config)
        else:
            source = sources.get(setting.key, "default")
        rows.append((setting.name, value_of(policy, setting, settings), source))
    if JSON_OPTION.flag in options:
        told = {"topic": topic, "filter": winner or None}
        values = {name: {"value": value, "from": source} for name, value, source in rows}
        write_out(json.dumps({**told, **values}).encode() + b"\n")
        return 0
    heading = f"{winner}  ({_place(policy, config)})" if policy is not None else "none matches"
    width = max(len(name) for name, _, _ in rows)
    shown_values = [value if isinstance(value, str) else shown(value) for _, value, _ in rows]
    value_width = max(map(len, shown_values))
    lines = [f"policy  {heading}"]
    for (name, _, source), value in zip(rows, shown_values, strict=True):
        lines.append(f"{name.ljust(width)}  {value.ljust(value_width)}  {source}")
    write_out("".join(f"{line}\n" for line in lines).encode())
    return 0


def _place(policy: PolicySettings, config: str) -> str:
    return f"{config}: {KEY} #{policy.number}"
