"""The README, pasted: its lines run as they stand, but for the port and the place of the command."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = (Path(__file__).parents[2] / "README.md").read_text()
LIMIT_S = 30


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


SCRIPTS = [
    "\n".join(line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))
    for block in blocks("console")
    if "make" not in block
]
(PUBLISHING, FACES, RESUMING) = SCRIPTS
PROGRAM, SERVICE = blocks("python")


@contextmanager
def pasted(script: str, daemon: Daemon) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a script, its last command in the place of the shell so that it can be ended."""
    script = script.replace("http://127.0.0.1:8080", daemon.url)
    script = script.replace(".venv/bin/extra-broker", f"{shlex.quote(sys.executable)} -m broker")
    *before, last = script.splitlines()
    process = subprocess.Popen(
        ["sh", "-c", "\n".join([*before, f"exec {last}"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(EXTRA_BROKER_URL=daemon.url),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def publish(daemon: Daemon) -> int:
    """Publish what the lines are to bring next; return how many subscribers it reached."""
    receipt = httpx.post(f"{daemon.url}/t/site/kitchen/temp", json={"celsius": 22}).json()
    subscribers: int = receipt["subscribers"]
    return subscribers


def publish_until_heard(daemon: Daemon) -> None:
    while publish(daemon) == 0:
        pass


def output(script: str, daemon: Daemon) -> str:
    with pasted(script, daemon) as process:
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
        return said.decode()


def test_the_first_message_is_answered_as_shown(start: Start) -> None:
    shown = r'^\{"topic":"site/kitchen/temp","offset":1,"cursor":"\w+-1","subscribers":\d\}$'
    assert re.search(shown, README, re.MULTILINE)
    assert re.fullmatch(shown, output(PUBLISHING, start()))


def test_the_lines_bring_the_message_on_every_face(start: Start) -> None:
    daemon = start()
    output(PUBLISHING, daemon)
    read, wait, follow, sub = FACES.splitlines()
    assert '"data":{"celsius":21}' in output(read, daemon)
    with pasted(wait, daemon) as polling:
        publish_until_heard(daemon)
        assert b'"data":{"celsius":22}' in polling.communicate(timeout=LIMIT_S)[0]
    for line in (follow, sub):
        with pasted(line, daemon) as following:
            assert following.stdout is not None
            assert any(b"21" in heard for heard in following.stdout)


def test_a_cursor_is_taken_from_an_answer_and_gone_on_from(start: Start) -> None:
    daemon = start()
    output(PUBLISHING, daemon)
    with pasted(RESUMING, daemon) as polling:
        while polling.poll() is None:  # before the cursor is taken, it is nothing new
            publish(daemon)
        page = polling.communicate(timeout=LIMIT_S)[0]
    assert b'"complete":true' in page
    assert b'"data":{"celsius":21}' not in page
    assert b'"data":{"celsius":22}' in page


def test_the_program_runs_over_the_network_and_in_process(start: Start) -> None:
    program = PROGRAM.replace(
        "print(message.topic, message.data)", "print(message.topic, message.data); return"
    )
    here = program.replace('extra.Client("http://127.0.0.1:8080")', "extra.Broker()")
    assert here != program
    for source in (program.replace("http://127.0.0.1:8080", start().url), here):
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
            env=environment(),
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"site/attic/temp {'celsius': 30}\n"


def test_code_that_is_not_async_publishes(start: Start) -> None:
    daemon = start()
    (line,) = re.findall(r"`(extra\.publish\(.*?\))`", README)
    source = "import extra\n" + line.replace("http://127.0.0.1:8080", daemon.url)
    subprocess.run([sys.executable, "-c", source], check=True, timeout=LIMIT_S, env=environment())
    assert '"data":{"done":0.4}' in output("curl 'http://127.0.0.1:8080/t/jobs/17'", daemon)
