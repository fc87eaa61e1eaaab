"""Asks a running extra-broker what it has: its metrics, and what its log holds."""

import json
import re
import urllib.request
from typing import Any, Final

from loadtest.generator.checks import Mismatch
from loadtest.generator.payloads import FIRST

__all__ = ["check_log", "cursor", "group_offset", "history", "metrics"]

SAMPLE: Final = re.compile(r"^extra_(\S+) (\S+)$", re.MULTILINE)
TIMEOUT_S: Final = 30.0


def metrics(port: int) -> dict[str, float]:
    """Return the figures of /metrics, without their prefix: `messages_published_total`."""
    return {name: float(value) for name, value in SAMPLE.findall(_get(port, "/metrics"))}


def history(port: int, topic: str) -> list[int]:
    """Return the numbers of the messages that the log has of a topic."""
    page: dict[str, Any] = json.loads(_get(port, f"/t/{topic}?since=start&limit=10000"))
    return [message["data"]["seq"] - FIRST for message in page["messages"]]


def cursor(port: int, topic: str) -> str:
    """Return where the log ends."""
    page: dict[str, str] = json.loads(_get(port, f"/t/{topic}?since=now"))
    return page["cursor"]


def group_offset(port: int, group: str) -> int:
    """Return up to where a group has settled everything."""
    told: dict[str, int] = json.loads(_get(port, f"/groups/{group}"))
    return told["offset"]


def check_log(port: int, topic: str, published: int) -> None:
    """Raise Mismatch unless the log ends with the last that were published to a topic, in order."""
    numbers = history(port, topic)
    expected = list(range(published - len(numbers), published))
    if not numbers or numbers != expected:
        shown = next((pair for pair in zip(numbers, expected, strict=True) if pair[0] != pair[1]), None)
        raise Mismatch(
            f"the log of {topic} has message {shown[0]} where {shown[1]} should be" if shown else topic
        )


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text
