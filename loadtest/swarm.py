"""Runs the locust scenarios against a broker of its own, and ends with pass or fail.

    make loadtest                                               a minute
    make loadtest ARGS="--users 500 --seconds 300"
    make loadtest ARGS="-- --retention-messages 1"              options of the broker behind `--`

It needs the environment of the load: EXTRA_LOAD_PYTHON names its Python, and the Makefile sees to that.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from loadtest.asking import metrics
from loadtest.processes import ROOT, raise_descriptor_limit
from loadtest.targets import broker

__all__ = ["main"]

USERS_PER_SECOND = 40


def main(arguments: list[str]) -> int:
    """Run, print a verdict as the last line, and return 0 when it passed."""
    parser = argparse.ArgumentParser("loadtest", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=150)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("options", nargs="*", help="of the broker, behind --")
    chosen = parser.parse_args(arguments)
    python = os.environ.get("EXTRA_LOAD_PYTHON", "")
    if not Path(python).exists():
        parser.error("EXTRA_LOAD_PYTHON names no Python: make loadtest sees to that")
    raise_descriptor_limit()
    with broker(*chosen.options) as server:
        command = [
            *(python, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"),
            *("--host", f"http://127.0.0.1:{server.port}", "--loglevel", "WARNING", "--only-summary"),
            *("--users", str(chosen.users), "--spawn-rate", str(USERS_PER_SECOND)),
            *("--run-time", f"{chosen.seconds}s", "--stop-timeout", "1"),
        ]
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        bugs = int(metrics(server.port)["handler_failures_total"])
    lines = done.stdout.rstrip().split("\n")
    if bugs:
        lines.append(f"FAIL: {bugs} failures in the broker's handlers (extra_handler_failures_total)")
    elif not lines[-1].startswith(("PASS", "FAIL")):
        lines.append(f"FAIL: locust ended with {done.returncode} and no verdict")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if lines[-1].startswith("PASS") and done.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
