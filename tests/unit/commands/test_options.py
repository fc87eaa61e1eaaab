"""The options of `extra run`, in code and as flags."""

import argparse
from dataclasses import fields
from typing import Any

import pytest

from extra.commands.options import OptionError, RunOptions, add_options, flag_of, options_of

SHARED = ("factory", "app_dir")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", 65_536, "a whole number, 0 to 65535"),
        ("port", True, "a whole number"),
        ("port", 1.5, "a whole number"),
        ("backlog", 0, "1 or more"),
        ("timeout_keep_alive", -1, "a number, 0 or more"),
        ("timeout_keep_alive", float("nan"), "a number"),
        ("host", 1, "a text"),
        ("access_log", "no", "True or False"),
        ("loop", "trio", "one of auto, uvloop, asyncio"),
        ("headers", "a:b", "a list"),
        ("headers", [("a b", "c")], "no header field"),
        ("headers", ["ab"], "no pair"),
        ("headers", [("a", 1)], "no pair"),
        ("headers", [("a", "b", "c")], "no pair"),
        ("headers", [("a", "c\r\nd: e")], "no header field"),
        ("log_config", 3, "a text"),
    ],
)
def test_value_that_is_not_allowed_names_its_option(name: str, value: object, words: str) -> None:
    with pytest.raises(OptionError, match=f"^{name}: .*{words}") as caught:
        options_of({name: value})
    assert caught.value.name == name


def test_lists_will_do_and_whole_numbers_pass_for_any() -> None:
    chosen = options_of({"headers": [["a", "b"]], "timeout_keep_alive": 3})
    assert chosen.headers == (("a", "b"),)
    assert chosen.timeout_keep_alive == 3


def test_every_option_has_a_flag_of_its_name_and_help() -> None:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_options(parser)
    described: dict[str, Any] = {action.dest: action for action in parser._actions}
    for each in fields(RunOptions):
        if each.name not in SHARED:
            assert flag_of(each.name) in described[each.name].option_strings
            assert described[each.name].help
    assert vars(parser.parse_args([])) == {}
    assert RunOptions() == options_of({})
