"""Requests by wrk (https://github.com/wg/wrk): a thread of C keeps a server busy that Python could not."""

import re
import shutil
import subprocess
from typing import Final

from loadtest.generator.checks import Mismatch
from loadtest.processes import ROOT

__all__ = ["figures_of", "hammer"]

RATE: Final = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
COUNT: Final = re.compile(r"^\s+(\d+) requests in ", re.MULTILINE)
FAULTS: Final = re.compile(r"^\s*(Socket errors|Non-2xx).*$", re.MULTILINE)
LATENCY: Final = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE)
MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def hammer(
    port: int, path: str, connections: int, seconds: int, *, is_pipelined: bool = False
) -> dict[str, float]:
    """Ask for `path` over so many keep-alive connections, one request at a time on each, or 16 ahead.

    Raises:
        Mismatch: an answer was not 2xx, or a connection was lost. ChildProcessError: there is no wrk.
    """
    program = shutil.which("wrk")
    if program is None:
        raise ChildProcessError("wrk is not installed: apt install wrk")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if is_pipelined:
        options += ["-s", str(ROOT / "loadtest" / "pipelined.lua")]
    command = [program, *options, f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildProcessError(f"wrk failed: {done.stdout}{done.stderr}")
    return figures_of(done.stdout)


def figures_of(output: str) -> dict[str, float]:
    """Return what wrk says: requests, requests a second, and latencies. Raises as `hammer` does."""
    rate, count = RATE.search(output), COUNT.search(output)
    if rate is None or count is None:
        raise ChildProcessError(f"wrk has said nothing that is known: {output}")
    if fault := FAULTS.search(output):
        raise Mismatch(fault[0].strip())
    told = {share: float(value) * MILLISECONDS[unit] for share, value, unit in LATENCY.findall(output)}
    return {
        "per_s": float(rate[1]),
        "requests": float(count[1]),
        "p50_ms": told.get("50", 0.0),
        "p99_ms": told.get("99", 0.0),
    }
