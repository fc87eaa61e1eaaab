"""A job reports its progress from code that is not async; a terminal follows it, whenever it joins.

The last report is retained, so a follower that comes late knows at once how far the job is.
"""

import sys
import threading
import time

import extra
from examples.pages import parse_arguments, run

STEPS = 40


def job(url: str, topic: str) -> None:
    """Work, as any thread, process or cron job does, and tell how far it is."""
    for step in range(STEPS + 1):
        time.sleep(0.05)
        extra.publish(url, topic, {"done": step / STEPS, "step": step}, retain=True)


async def follow(broker: extra.Client, topic: str) -> None:
    """Draw a bar until the job is done."""
    async with broker.subscribe(topic) as messages:
        async for message in messages:
            report = message.data
            assert isinstance(report, dict)
            done = float(str(report["done"]))
            sys.stdout.write(f"\r[{'#' * int(done * 40):40}] {done:4.0%}")
            sys.stdout.flush()
            if done >= 1:
                break
    sys.stdout.write("\n")


async def main() -> None:
    """Start a job, and follow it."""
    url = parse_arguments(__doc__).url
    topic = f"jobs/{time.time_ns()}"
    async with extra.Client(url) as broker:
        worker = threading.Thread(target=job, args=(url, topic), daemon=True)
        worker.start()
        await follow(broker, topic)


if __name__ == "__main__":
    run(main())
