"""A real `extra-broker` in a process of its own, on a port that it picks."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from extra.payloads import JSONValue

__all__ = ["Daemon", "running_daemon"]

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)")
START_LIMIT_S = 20
END_LIMIT_S = 10


class Daemon:
    """A running broker: where it is, and how to publish to it."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30)

    async def publish(self, topic: str, data: JSONValue, *, retain: bool = False) -> int:
        """Publish as JSON, over HTTP. Returns the offset."""
        response = await self.http.request("PUT" if retain else "POST", f"/t/{topic}", json=data)
        assert response.status_code == 201, response.text
        offset: int = response.json()["offset"]
        return offset

    async def publish_many(self, messages: Sequence[tuple[str, JSONValue]]) -> None:
        """Publish all in one request."""
        body = [{"topic": topic, "data": data} for topic, data in messages]
        response = await self.http.post("/publish", json=body)
        assert response.status_code == 201, response.text[:500]

    async def stop(self) -> None:
        """End the process, as SIGTERM does."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(END_LIMIT_S):
            await self.process.wait()


@asynccontextmanager
async def running_daemon(*options: str, port: int = 0) -> AsyncIterator[Daemon]:
    """Start a broker with these options, and end it."""
    command = [sys.executable, "-m", "broker", "--port", str(port), "--server-drain-window-s", "0", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=ROOT)
    assert process.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while not (found := ADDRESS.search(said)):
                line = await process.stdout.readline()
                assert line, f"the broker did not start: {said.decode()}"
                said += line
        daemon = Daemon(process, int(found[1]))
        async with asyncio.TaskGroup() as tasks, daemon.http:
            tasks.create_task(read_out(process.stdout))
            try:
                yield daemon
            finally:
                await daemon.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_out(stream: asyncio.StreamReader) -> None:
    """Take what the broker says, so that its pipe does not fill."""
    while await stream.read(65536):
        pass
