"""Taking policies over while the broker runs."""

import logging
from pathlib import Path

import pytest

from broker.loading import load
from broker.reloading import Reloading
from extra.pubsub import Broker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "broker.toml"
    file.write_text("[[policies]]\nfilter = 'a'\nmessages = 2\n")
    return file


def a_reloading(file: Path) -> Reloading:
    return Reloading(Broker(), load(str(file)), lambda: load(str(file)))


def test_policies_hold_when_they_were_reloaded_and_what_changed_is_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloading = a_reloading(file)
    file.write_text("[retention]\nage_s = 5\n[[policies]]\nfilter = 'a'\nmessages = 1\n")
    with caplog.at_level(logging.INFO):
        assert reloading.reload()
    policy = reloading.broker.engine.policy("a")
    assert (policy.messages, policy.age_s) == (1, 5.0)
    assert "reloaded: policy 'a': messages 1, and was messages 2; retention.age_s: 5.0, and was 600.0" in (
        caplog.text
    )
    caplog.clear()
    with caplog.at_level(logging.INFO):
        reloading.reload()
    assert "nothing has changed" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[policies]]\nfilter = 'a'\nmessages = -1\n", "broker.toml: policies #1: messages: -1 is not"),
        ("[[policies]\n", "at line 1, column 11"),
        ("[server]\nport = 'x'\n", "broker.toml: server.port: 'x' is not allowed"),
    ],
)
def test_a_broken_file_leaves_the_policies_as_they_were_and_is_told(
    file: Path, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    reloading = a_reloading(file)
    reloading.reload()
    file.write_text(text)
    assert not reloading.reload()
    assert said in caplog.text
    assert "the policies are what they were" in caplog.text
    assert reloading.broker.engine.policy("a").messages == 2
    file.unlink()
    assert not reloading.reload()
