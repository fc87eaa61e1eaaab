"""The grammar of options, and how help shows them."""

import os

import pytest

from broker.commands.options import HELP_OPTION, Option, UsageError, help_table, parse_arguments

OPTIONS = [Option("--port", "N", "where"), Option("--fast", "", "how"), HELP_OPTION]


@pytest.mark.parametrize(
    ("words", "given", "arguments"),
    [
        ([], [], []),
        (["--port", "1"], [("--port", "1")], []),
        (["--port=1"], [("--port", "1")], []),
        (["--port="], [("--port", "")], []),
        (["--port", "-1"], [("--port", "-1")], []),
        (["--port=a=b"], [("--port", "a=b")], []),
        (["--fast"], [("--fast", "true")], []),
        (["--fast=false"], [("--fast", "false")], []),
        (["--fast", "a"], [("--fast", "true")], ["a"]),
        (["a", "--fast", "b"], [("--fast", "true")], ["a", "b"]),
        (["-", "a"], [], ["-", "a"]),
        (["--", "--port", "-x", "--"], [], ["--port", "-x", "--"]),
        (["--port", "1", "--port", "2"], [("--port", "1"), ("--port", "2")], []),
        (["-h"], [("--help", "true")], []),
        (["", "\0"], [], ["", "\0"]),
    ],
)
def test_options_and_arguments_are_told_apart(
    words: list[str], given: list[tuple[str, str]], arguments: list[str]
) -> None:
    assert parse_arguments(words, OPTIONS) == (given, arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prot", "1"], "no option --prot: did you mean --port?"),
        (["-5"], "no option -5: put -- before an argument that begins with a dash"),
        (["--po", "1"], "no option --po: did you mean --port?"),
        (["--port"], "--port lacks its value: --port N"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(words, OPTIONS)
    assert str(caught.value) == message


def test_help_shows_each_option_with_its_default_in_two_columns() -> None:
    table = help_table([Option("--port", "N", "where to listen", "80"), Option("--fast", "", "in haste")])
    assert table == "  --port N  where to listen [80]\n  --fast    in haste"


def test_help_wraps_under_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((60, 24)))
    lines = help_table([Option("--port", "N", "word " * 30)]).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 60 for line in lines)
    assert all(line.startswith(" " * 12 + "word") for line in lines[1:])


def test_help_is_100_columns_wide_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", refuse)
    lines = help_table([Option("--port", "N", "word " * 40)]).splitlines()
    assert 90 < max(map(len, lines)) <= 100
