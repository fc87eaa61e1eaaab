"""The smallest service, as a person starts it: with `extra run`, and with uvicorn."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import END_LIMIT_S, environment

pytestmark = pytest.mark.e2e

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "services"


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program in the directory of the examples, which ends with 0 when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=EXAMPLES,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(END_LIMIT_S) in (0, -signal.SIGINT)
        finally:
            if process.poll() is None:
                process.kill()


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=END_LIMIT_S) as answer:
        return str(answer.read().decode())


def test_hello_world_runs_on_our_server() -> None:
    with started("extra", "run", "helloworld:app", "--port", "0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(f"{url}/any/where") == "Hello, World !"


def test_hello_world_runs_under_uvicorn() -> None:
    options = ("--host", "127.0.0.1", "--port", "0", "--app-dir", os.fspath(EXAMPLES))
    with started("uvicorn", "helloworld:app", *options) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "running on" in line)
        url = line.partition("running on ")[2].split()[0]
        assert ask(f"{url}/any/where") == "Hello, World !"


def test_routes_are_listed() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "extra", "routes", "helloworld:app"],
        cwd=EXAMPLES,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        output, _ = process.communicate(timeout=END_LIMIT_S)
    assert (process.returncode, output) == (0, "GET  /{any}  HelloWorld.hello\n")
