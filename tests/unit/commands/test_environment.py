"""Variables from a file."""

import os
from pathlib import Path

import pytest

from extra.commands.environment import read_environment
from extra.commands.options import OptionError


def test_variables_that_are_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA_TEST_SET", "mine")
    monkeypatch.setenv("EXTRA_TEST_NEW", "")  # so that it is put back afterwards
    monkeypatch.delenv("EXTRA_TEST_NEW")
    (tmp_path / "env").write_text("EXTRA_TEST_SET=theirs\nexport EXTRA_TEST_NEW='a b' # and why\n")
    read_environment(str(tmp_path / "env"))
    assert os.environ["EXTRA_TEST_SET"] == "mine"
    assert os.environ["EXTRA_TEST_NEW"] == "a b"


def test_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    read_environment("")
    (tmp_path / "binary").write_bytes(b"\xff\xfe=\x80")
    for name in ("nowhere", "binary"):
        with pytest.raises(OptionError, match=name):
            read_environment(str(tmp_path / name))
