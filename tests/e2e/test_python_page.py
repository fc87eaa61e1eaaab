"""docs/python.md: every example runs, and prints what the page says."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import extra
from extra.errors import ExtraError
from tests.e2e.daemon import Daemon, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^## ([^\n]+)\n|^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", PAGE, re.M | re.S)
URL = "http://127.0.0.1:8080"


def examples() -> Iterator[object]:
    heading = ""
    for title, program, printed in BLOCKS:
        heading = title or heading
        if program:
            yield pytest.param(program, printed, id=heading)


@pytest.fixture(scope="module")
def broker() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.mark.parametrize(("program", "printed"), list(examples()))
def test_an_example_prints_what_the_page_says(broker: Daemon, program: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace(URL, broker.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert (done.stderr, done.stdout) == ("", printed)


def test_each_error_that_the_page_names_is_one_of_ours() -> None:
    table = PAGE.partition("## Errors")[2].partition("## Channels")[0]
    names = {name for cell in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"\w+", cell)}
    assert len(names) == 19
    assert all(issubclass(getattr(extra, name), ExtraError) for name in names)


def test_each_place_that_the_page_points_to_is_there() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^## (.*)$", PAGE, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors
