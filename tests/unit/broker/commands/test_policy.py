"""`extra-broker policy`."""

import json
from pathlib import Path

import pytest

from broker.commands.options import UsageError
from broker.commands.policy import run


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("broker.toml").write_text(
        "[retention]\nage_s = 5\n"
        "[[policies]]\nfilter = '#'\nmessages = 1\n"
        "[[policies]]\nfilter = 'site/+/temp'\nmessages = 10\ndurable = false\n"
    )
    monkeypatch.setenv("EXTRA_BROKER_RETENTION_TOPIC_LIMIT_BYTES", "1000")
    return "broker.toml"


def test_the_policy_of_a_topic_is_shown_with_where_each_value_comes_from(
    config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["site/a/temp", "--config", config]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "policy  site/+/temp  (broker.toml: policies #2)",
        "messages           10          broker.toml: policies #2",
        "age_s              5.0         broker.toml",
        "topic_limit_bytes  1000        EXTRA_BROKER_RETENTION_TOPIC_LIMIT_BYTES",
        "max_payload_bytes  1048576     default",
        "retained           true        default",
        "durable            false       broker.toml: policies #2",
        "overflow           disconnect  default",
    ]


def test_where_none_matches_the_sections_count(capfd: pytest.CaptureFixture[str], config: str) -> None:
    assert run(["$SYS/load", "--config", config]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "policy  none matches"
    assert lines[1].split() == ["messages", "100", "default"]


def test_the_same_as_json(
    config: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTRA_BROKER_CONFIG", config)
    assert run(["site/a/temp", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["topic"], told["filter"]) == ("site/a/temp", "site/+/temp")
    assert told["messages"] == {"value": 10, "from": "broker.toml: policies #2"}


def test_help_says_what_longest_means(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "most levels that are no\nwildcards" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "policy takes TOPIC, not 0 arguments"),
        (["a", "b"], "not 2 arguments"),
        (["a/+"], "wildcard"),
        (["a", "--config", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
    ],
)
def test_a_wrong_call_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(words)
