"""`extra-broker [serve]`: reads the settings, starts the log, and runs the daemon."""

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from broker import __version__, logs
from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments
from broker.commands.streams import write_out
from broker.loading import ignored_variables, load
from broker.settings import SECTIONS, SETTINGS, Setting, SettingsError

__all__ = ["run"]

logger = logging.getLogger("broker")

CONFIG_VARIABLE: Final = "EXTRA_BROKER_CONFIG"

CONFIG_OPTION: Final = Option("--config", "FILE", f"read settings from a TOML file, also {CONFIG_VARIABLE}")
VERSION_OPTION: Final = Option("--version", "", "show the version and exit")

COMMON_KEYS: Final = ("server.host", "server.port", "store.path", "log.level", "log.format")

INTRODUCTION: Final = """\
Usage: extra-broker [serve] [OPTIONS]
       extra-broker pub TOPIC [DATA|-] [OPTIONS]
       extra-broker sub FILTER... [OPTIONS]
       extra-broker topics|export|import|compact|check|policy [OPTIONS]

A messaging broker for the web: every topic is a URL.

Commands
  serve  run the broker; the default
  pub    publish a message, or each line of standard input
  sub    print messages as they come, one a line
  topics, export, import, compact, check
         show, save, fill, shrink and verify a store, the file of --store
  policy print what the configuration says of a topic
  `extra-broker pub --help` says more, and so for each.
"""

SOURCES: Final = """\
Settings
  Each can stand in the file (port under [server]), in the environment (EXTRA_BROKER_SERVER_PORT)
  or among the flags (--server-port); the later of these wins. In the latter two, lists are written
  with commas, switches as true or false; a switch among the flags is true alone, or --name=false.
"""

POLICIES: Final = """\
  In the file, [[policies]] tables make exceptions: filter = "site/#", with messages, age_s,
  topic_limit_bytes or max_payload_bytes of its own, retained = false (nothing can be), durable =
  false (not in the store) or overflow (for subscribers that name none). The longest filter that
  matches a topic counts: `extra-broker policy TOPIC` says which that is. SIGHUP reloads them.
"""

DURABILITIES: Final = """\
  full    a message is on the disk before its publisher has the receipt and anybody the message:
          neither a killed process nor a power cut loses it.
  normal  a message has been handed to the system by then: a killed process loses nothing, a power
          cut may take what was published in the last half minute; subscribers are told so.
  PATH-wal, PATH-shm and PATH-lock stand beside the file, and belong to it.
"""

STATUSES: Final = """\
Exit status
  0  ended in order by SIGINT or SIGTERM
  1  the broker cannot run
  2  an option or setting is wrong
"""


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: an option is unknown or lacks its value, there is an argument, or a setting is wrong.
    """
    given, arguments = parse_arguments(words, _options())
    values = dict(given)
    if "--help" in values:
        write_out(_help().encode())
        return 0
    if "--version" in values:
        write_out(f"extra-broker {__version__}\n".encode())
        return 0
    if arguments:
        raise UsageError(f"serve takes no argument {arguments[0]!r}")
    config = values.get("--config", os.environ.get(CONFIG_VARIABLE, ""))
    flags = [(flag, text) for flag, text in given if flag != "--config"]
    try:
        settings = load(config, os.environ, flags)
    except SettingsError as error:
        raise UsageError(str(error)) from None
    logs.configure(settings.log, sys.stderr, no_color="NO_COLOR" in os.environ)
    for line in ignored_variables(os.environ):
        logger.warning("%s", line)
    from broker.daemon import serve

    return serve(settings, partial(load, config, os.environ, flags) if config else None)


def _options() -> list[Option]:
    short = [_option(setting, setting.short_flag) for setting in SETTINGS if setting.short_flag]
    return [CONFIG_OPTION, HELP_OPTION, VERSION_OPTION, *short, *(_option(s, s.flag) for s in SETTINGS)]


def _option(setting: Setting, flag: str) -> Option:
    return Option(flag, setting.metavar, setting.help, _default_text(setting))


def _default_text(setting: Setting) -> str:
    """Return the default as one would write it after the flag."""
    if setting.is_switch:
        return "true" if setting.default else "false"
    if isinstance(setting.default, float):
        return f"{setting.default:g}"
    return (
        str(setting.default or "none") if isinstance(setting.default, str | tuple) else str(setting.default)
    )


def _help() -> str:
    common = [_option(s, s.short_flag or s.flag) for s in SETTINGS if s.key in COMMON_KEYS]
    parts = [
        INTRODUCTION,
        "Options",
        help_table([CONFIG_OPTION, *common, HELP_OPTION, VERSION_OPTION]) + "\n",
        SOURCES,
    ]
    for section, kind in SECTIONS.items():
        table = help_table(
            _option(setting, setting.flag) for setting in SETTINGS if setting.section == section
        )
        parts.append(f"[{section}]  {kind.__doc__}\n{table}\n")
        if section == "retention":
            parts.append(POLICIES)
        if section == "store":
            parts.append(DURABILITIES)
    return "\n".join([*parts, STATUSES])
