"""Servers as processes: starting and ending them, and what they use, read from the kernel."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = [
    "ROOT",
    "Server",
    "announced",
    "free_port",
    "raise_descriptor_limit",
    "result_of",
    "run_ahead",
    "running_at",
]

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
CPUCLOCK_SCHED: Final = 2
START_LIMIT_S: Final = 20.0
END_LIMIT_S: Final = 5.0


class Server:
    """A running server: its port, and all its processes."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def pids(self) -> list[int]:
        """Return it and its descendants."""
        found = [self.process.pid]
        for pid in found:  # grows while it is read
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        return found

    def cpu_s(self) -> float:
        """Return the processor time used so far, in user and kernel mode, ended threads included.

        That of clock_getcpuclockid(3), to the nanosecond; /proc/PID/stat has the same in ticks of 10 ms.
        """
        return sum(time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED) for pid in self.pids())

    def waited_s(self) -> float:
        """Return how long its threads were ready to run and had no core, so far (schedstat, field 2)."""
        waited = 0
        for pid in self.pids():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waited += int((thread / "schedstat").read_text().split()[1])
        return waited / 1e9

    def resident_bytes(self) -> int:
        """Return the memory that is resident."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in self.pids())

    def peak_bytes(self) -> int:
        """Return the most that has been resident at a time."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
        return total


def result_of(module: str, *arguments: object) -> Any:
    """Run one of our modules in a process of its own, and return the JSON that it prints.

    Raises:
        ChildProcessError: it failed.
    """
    command = [sys.executable, "-m", module, *(str(each) for each in arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ChildProcessError(f"{module} failed")
    return json.loads(done.stdout)


@contextmanager
def announced(*command: str, python: str = sys.executable) -> Iterator[Server]:
    """Start a Python server that prints its port or its URL, and end it."""
    environment = None
    if python != sys.executable:  # another environment: it finds our sources, and nothing that is compiled
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([python, *command], stdout=subprocess.PIPE, text=True, env=environment)
    with _ended(process):
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise ChildProcessError(f"it did not start: {' '.join(command)}")
        yield Server(process, int(line.rpartition(":")[2].strip("/")))


@contextmanager
def running_at(port: int, *command: str, log: Path) -> Iterator[Server]:
    """Start a server that has been told to listen on `port`, and end it. What it says goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
    with _ended(process):
        deadline = time.monotonic() + START_LIMIT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ChildProcessError(f"it did not start: {' '.join(command)}\n{log.read_text()}")
            time.sleep(0.02)
        yield Server(process, port)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def run_ahead() -> None:
    """Let this process and its children run ahead of everything else on the machine (sched(7), SCHED_RR).

    Raises:
        PermissionError: only root may.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def free_port() -> int:
    """Return a port that was free a moment ago, for servers that cannot pick one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many files as they may, and return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
