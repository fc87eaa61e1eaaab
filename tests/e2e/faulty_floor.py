"""The floor with a fault: the tenth message is lost, doubled or reordered for one subscriber.

python tests/e2e/faulty_floor.py lost|doubled|reordered
"""

import asyncio
import sys

import uvloop

from loadtest.servers.floor import Connection, Floor

FAULTY_MESSAGE = 10


class FaultyFloor(Floor):
    """Does to the frames of the subscriber that came last what it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fault: str) -> None:
        super().__init__(loop)
        self.fault = fault

    def publish(self, name: bytes, payload: bytes) -> None:
        if self.offset == FAULTY_MESSAGE:
            self.flush()  # so that the outbox below holds this message alone
        super().publish(name, payload)
        frames = next(reversed(self.subscribers)).frames
        if self.offset == FAULTY_MESSAGE:
            if self.fault == "doubled":
                frames.append(frames[-1])
            elif self.fault == "lost":
                frames.pop()
            else:
                self.held = frames.pop()
        elif self.offset == FAULTY_MESSAGE + 1 and self.fault == "reordered":
            frames.append(self.held)


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    floor = FaultyFloor(loop, sys.argv[1])
    server = await loop.create_server(lambda: Connection(floor), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
