"""Device readings on a dashboard: devices publish and retain, the page follows all of them with one filter.

A page that is opened late shows the last reading of every device at once, because they are retained.
"""

import asyncio
import random

import extra
from examples.pages import parse_arguments, run, serve_page

DEVICES = ("boiler", "kitchen", "greenhouse", "attic", "cellar", "server-room")


async def device(broker: extra.Client, name: str) -> None:
    """Measure once in a while, for ever."""
    celsius = random.uniform(15, 25)
    while True:
        celsius += random.gauss(0, 0.4)
        await broker.publish(f"plant/{name}/temp", {"celsius": round(celsius, 1)}, retain=True)
        await asyncio.sleep(random.uniform(0.2, 1.0))


async def main() -> None:
    """Serve the page, and be the devices."""
    arguments = parse_arguments(__doc__)
    async with extra.Client(arguments.url) as broker, asyncio.TaskGroup() as tasks:
        for name in DEVICES:
            tasks.create_task(device(broker, name))
        tasks.create_task(serve_page("dashboard.html", arguments.url, arguments.port))


if __name__ == "__main__":
    run(main())
