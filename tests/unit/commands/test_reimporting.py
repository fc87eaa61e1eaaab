"""Importing modules anew."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extra.commands.reimporting import renewed_modules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules, one of which imports the other."""
    package = tmp_path / "renewable"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("VALUE = 1\n")
    (package / "outer.py").write_text("from renewable.inner import VALUE\nimport json\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("renewable")]:
        del sys.modules[name]


def outer() -> Any:
    return importlib.import_module("renewable.outer")


def test_module_and_what_it_imports_are_imported_anew(folder: Path) -> None:
    json, before = sys.modules["json"], outer()
    for value in (2, 3, 4):  # of one size, and within a second
        (folder / "renewable" / "inner.py").write_text(f"VALUE = {value}\n")
        with renewed_modules([folder]):
            assert value == outer().VALUE
    assert outer() is not before
    assert before.VALUE == 1
    assert sys.modules["json"] is json


def test_modules_that_were_there_are_there_again_after_a_failure(folder: Path) -> None:
    before, written = outer(), sys.dont_write_bytecode
    (folder / "renewable" / "inner.py").write_text("VALUE = 2\n1 / 0\n")
    with pytest.raises(ZeroDivisionError), renewed_modules([folder]):
        outer()
    assert outer() is before
    assert sys.modules["renewable.inner"].VALUE == 1
    assert sys.dont_write_bytecode == written


def test_what_lies_elsewhere_is_installed_or_runs_stays(folder: Path, tmp_path: Path) -> None:
    before = outer()
    with renewed_modules([tmp_path / "elsewhere", Path(__file__).parents[3] / "extra"]):
        assert outer() is before
        assert "extra.commands.reimporting" in sys.modules
    inside = folder / "site-packages"
    inside.mkdir()
    (inside / "renewable_installed.py").write_text("")
    sys.path.insert(0, str(inside))
    try:
        installed = importlib.import_module("renewable_installed")
        with renewed_modules([folder]):
            assert importlib.import_module("renewable_installed") is installed
    finally:
        sys.path.remove(str(inside))
