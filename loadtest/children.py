"""The processes of the load, seen from the one that measures."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loadtest.generator.checks import Mismatch
from loadtest.generator.plan import Plan

__all__ = ["Child", "poster", "publisher", "subscribers", "workers"]


class Child:
    """A process that is told what to do, a line of JSON at a time, and answers each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, do: str, **fields: object) -> None:
        """Send a command; `answer` is to be called once for each."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer. Raises Mismatch when a message was lost, doubled or reordered."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError("a process of the load has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Mismatch(answer["error"])
        return answer

    def ask(self, do: str, **fields: object) -> dict[str, Any]:
        """Send a command, and wait for the answer."""
        self.tell(do, **fields)
        return self.answer()


@contextmanager
def subscribers(plan: Plan, *, wait: bool = True) -> Iterator[Child]:
    """Start a process of subscribers; all are subscribed when this returns, or its first answer comes."""
    with _child("loadtest.generator.subscribers", plan.to_json()) as child:
        if wait:
            child.answer()
        yield child


@contextmanager
def publisher(plan: Plan) -> Iterator[Child]:
    """Start a process that publishes; it is connected when this returns."""
    with _child("loadtest.generator.publisher", plan.to_json()) as child:
        child.answer()
        yield child


@contextmanager
def poster(port: int, connections: int, requests: int, payload_bytes: int) -> Iterator[Child]:
    """Start a process that posts; it is connected when this returns."""
    arguments = (port, connections, requests, payload_bytes)
    with _child("loadtest.generator.requests", *[str(each) for each in arguments]) as child:
        child.answer()
        yield child


@contextmanager
def workers(port: int, connections: int, messages: int, way: str) -> Iterator[Child]:
    """Start a process of workers; they are connected when this returns."""
    arguments = (port, connections, messages, way)
    with _child("loadtest.generator.workers", *[str(each) for each in arguments]) as child:
        child.answer()
        yield child


@contextmanager
def _child(module: str, *arguments: str) -> Iterator[Child]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()
