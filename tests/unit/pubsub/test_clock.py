import time

from extra.pubsub import SystemClock


def test_now_is_the_monotonic_clock() -> None:
    before = time.monotonic()
    assert before <= SystemClock().now() <= time.monotonic()


def test_time_is_unix_time() -> None:
    before = time.time()
    assert before <= SystemClock().time() <= time.time()
