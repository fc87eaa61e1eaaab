"""A job reports its progress from code that is not async; a terminal follows it, whenever it joins.

The last report is retained, so a follower that comes late knows at once how far the job is.
"""

import sys
import threading
import time

import extra
from examples.pages import parse_arguments, run

STEPS = 40


def job(broker: str, topic: str) -> None:
    """Work, as any thread, process or cron job does, and tell how far it is."""
    for step in range(STEPS + 1):
        time.sleep(0.05)
        extra.publish(broker, topic, {"done": step / STEPS, "step": step}, retain=True)


async def follow(url: str, topic: str) -> None:
    """Draw a bar until the job is done."""
    async with extra.Client(url) as broker, broker.subscribe(topic) as messages:
        async for message in messages:
            report = message.data
            assert isinstance(report, dict)
            done = float(str(report["done"]))
            sys.stdout.write(f"\r[{'#' * int(done * 40):40}] {done:4.0%}")
            sys.stdout.flush()
            if done >= 1:
                break
    sys.stdout.write("\n")


def main() -> None:
    """Start a job, and follow it."""
    arguments = parse_arguments(__doc__)
    topic = f"jobs/{time.time_ns()}"
    worker = threading.Thread(target=job, args=(arguments.broker, topic))
    worker.start()
    run(follow(arguments.broker, topic))
    worker.join()


if __name__ == "__main__":
    main()
