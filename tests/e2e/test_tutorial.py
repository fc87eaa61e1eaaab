"""Each step of the tutorial starts as the page says, and says what it serves."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.daemon import END_LIMIT_S, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
STEPS = [path.stem for path in sorted((ROOT / "examples" / "tutorial").glob("step*.py"))]


@pytest.mark.parametrize("step", STEPS)
def test_step_runs(step: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "extra", "run", f"examples.tutorial.{step}:app", "--port", "0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
            assert httpx.get(url).status_code == (200 if step in ("step01_hello", "step10_chat") else 404)
            process.terminate()
            _, log = process.communicate(timeout=END_LIMIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert "ERROR" not in log
