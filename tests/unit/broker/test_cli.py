"""The command line as a whole: which command runs, and how errors are told."""

import ast
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import broker
from broker import cli
from broker.cli import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _untouched_sigint() -> Iterator[None]:
    """Sets SIGINT as an interpreter in the foreground has it, and gives it back to the test runner."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["--help"], "Usage: extra-broker [serve]"),
        (["serve", "--help"], "Usage: extra-broker [serve]"),
        (["pub", "--help"], "Usage: extra-broker pub"),
        (["sub", "--help"], "Usage: extra-broker sub"),
        (["topics", "--help"], "Usage: extra-broker topics"),
        (["export", "--help"], "Usage: extra-broker export"),
        (["import", "--help"], "Usage: extra-broker import"),
        (["compact", "--help"], "Usage: extra-broker compact"),
        (["check", "--help"], "Usage: extra-broker check"),
        (["--version"], "extra-broker "),
    ],
)
def test_first_word_names_the_command_and_serve_is_the_default(
    capfd: pytest.CaptureFixture[str], words: list[str], beginning: str
) -> None:
    assert main(words) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith(beginning)
    assert captured.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["subb"], "no command 'subb': did you mean sub?"),
        (["publish"], "no command 'publish': did you mean pub?"),
        (
            ["x"],
            "no command 'x': it is one of serve, pub, sub, topics, export, import, compact, check, policy",
        ),
        (["--port", "x"], "--port: 'x' is not allowed: a port number, 0 to 65535"),
        (["pub"], "pub takes TOPIC [DATA|-], not 0 arguments"),
        (["sub", "--strikt"], "no option --strikt: did you mean --strict?"),
    ],
)
def test_wrong_call_is_told_in_one_line_with_status_2(
    capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", f"extra-broker: {message}\n")


def test_arguments_of_the_process_are_the_default(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["extra-broker", "--version"])
    assert main() == 0
    assert capfd.readouterr().out == f"extra-broker {broker.__version__}\n"


def test_output_that_cannot_be_written_is_told_with_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--version"]) == 1
    assert capsys.readouterr().err == "extra-broker: standard output is closed\n"


def test_ctrl_c_ends_the_process_by_the_signal() -> None:
    """So that a shell sees 130, and a loop in a script ends, too."""
    main(["--version"])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_ctrl_c_stays_ignored_where_the_shell_has_put_the_command_into_the_background() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(["--version"])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert broker.__version__ == project["version"]
    assert project["scripts"]["extra-broker"] == "broker.cli:main"


def test_finding_the_command_imports_nothing_slow() -> None:
    """Every start pays for what stands at the top of the module."""
    imported = {
        node.module
        for node in ast.parse(Path(cli.__file__).read_text()).body
        if isinstance(node, ast.ImportFrom)
    }
    assert not any(module and module.startswith(("extra", "broker.daemon")) for module in imported)


@pytest.mark.slow
def test_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "broker", "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    assert done.stdout == f"extra-broker {broker.__version__}\n"


INTERRUPTED_AT_FIRST_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name.startswith("broker.commands"):
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background of a script
sys.meta_path.insert(0, Interrupting())
from broker.cli import main
main(["sub", "a"])
"""


@pytest.mark.slow
def test_ctrl_c_while_it_is_still_importing_ends_it_quietly() -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_FIRST_IMPORT], capture_output=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (-signal.SIGINT, b"", b"")
