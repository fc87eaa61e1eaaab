"""Which store a command is about, and how it shows how far it is."""

import os
import sys
from io import StringIO
from pathlib import Path

import pytest

from broker.commands.options import UsageError
from broker.commands.storing import open_store, store_path, with_progress
from broker.engines import StoreRefused
from tests.unit.broker.commands.stores import EPOCH, make_store


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_option_the_environment_and_the_file_name_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the broker: the later of file, environment and option wins."""
    config = tmp_path / "broker.toml"
    config.write_text("[store]\npath = '/a.db'\n")
    assert store_path({"--config": str(config)}) == "/a.db"
    monkeypatch.setenv("EXTRA_BROKER_CONFIG", str(config))
    assert store_path({}) == "/a.db"
    monkeypatch.setenv("EXTRA_BROKER_STORE_PATH", "/b.db")
    assert store_path({}) == "/b.db"
    assert store_path({"--store": "/c.db"}) == "/c.db"


def test_without_a_store_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXTRA_BROKER_CONFIG", raising=False)
    monkeypatch.delenv("EXTRA_BROKER_STORE_PATH", raising=False)
    with pytest.raises(UsageError, match="--store PATH"):
        store_path({})
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        store_path({"--config": "nowhere.toml"})


def test_a_store_is_opened_for_one(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store.db")
    with open_store(str(path)) as store:
        assert (store.epoch, store.head, set(store.numbers)) == (EPOCH, 7, {"a", "b", "c", "d"})
        with pytest.raises(StoreRefused, match="in use"), open_store(str(path)):
            pass
    with open_store(str(path)):
        pass


def test_a_new_one_is_made_only_where_that_is_meant(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    with pytest.raises(StoreRefused, match="no such file"), open_store(path):
        pass
    assert not os.path.exists(path)
    with open_store(path, "e5") as store:
        assert store.epoch == "e5"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_alone(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal() if is_terminal else StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(with_progress(iter("abc"), 3, "export")) == ["a", "b", "c"]
    assert ("export" in stderr.getvalue()) == is_terminal
    monkeypatch.setattr(sys, "stderr", None)
    assert list(with_progress(iter("abc"), None, "export")) == ["a", "b", "c"]
