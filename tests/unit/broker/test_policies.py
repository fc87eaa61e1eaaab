"""Policies from the configuration to the engine, and what differs between two of them."""

from pathlib import Path

import pytest

from broker.loading import load
from broker.policies import POLICY_SETTINGS, changes, policy_table, value_of
from broker.settings import Settings
from extra.pubsub import DEFAULT_POLICY

ALL = """
[[policies]]
filter = "a/#"
messages = 1
age_s = 2
topic_limit_bytes = 3
max_payload_bytes = 4
retained = false
durable = false
overflow = "latest"
"""


def loaded(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "broker.toml"
    file.write_text(text)
    return load(str(file))


def test_every_value_of_a_table_is_in_the_policy(tmp_path: Path) -> None:
    policy = policy_table(loaded(tmp_path, ALL)).policy("a/b")
    assert (policy.messages, policy.age_s, policy.topic_limit_bytes) == (1, 2.0, 3)
    assert (policy.max_payload_bytes, policy.retained, policy.durable) == (4, False, False)
    assert policy.overflow == "latest"


def test_without_tables_every_topic_is_as_the_sections_say() -> None:
    policy = policy_table(Settings()).default
    for setting in POLICY_SETTINGS:
        expected = value_of(None, setting, Settings())
        assert getattr(policy, setting.name) == expected
        if setting.name != "max_payload_bytes":  # which the broker's own limit stands for
            assert getattr(DEFAULT_POLICY, setting.name) == expected


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (ALL, ALL, []),
        (
            "",
            "[[policies]]\nfilter = 'a'\nmessages = 1\ndurable = false\n",
            ["policy 'a': new: messages 1, durable false"],
        ),
        ("[[policies]]\nfilter = 'a'\n", "", ["policy 'a': gone"]),
        (
            "[[policies]]\nfilter = 'a'\n[[policies]]\nfilter = 'b'\n",
            "[[policies]]\nfilter = 'b'\n[[policies]]\nfilter = 'a'\noverflow = 'latest'\n",
            ["policy 'a': overflow 'latest', and was as without one"],
        ),
        (
            "[retention]\nmessages = 1\n",
            "[retention]\nmessages = 2\n[server]\nport = 1\n",
            ["server.port: has changed, which takes a restart", "retention.messages: 2, and was 1"],
        ),
    ],
)
def test_differences_are_told_line_by_line(tmp_path: Path, before: str, after: str, lines: list[str]) -> None:
    assert list(changes(loaded(tmp_path, before), loaded(tmp_path, after))) == lines
