"""What wrk says, and what is made of it."""

import pytest

from loadtest.generator.checks import Mismatch
from loadtest.wrk import figures_of

OUTPUT = """\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.51ms  316.25us   6.92ms   93.17%
    Req/Sec    42.85k     1.95k   45.45k    80.95%
  Latency Distribution
     50%    1.40ms
     75%    1.49ms
     90%    1.73ms
     99%  870.00us
  89548 requests in 2.10s, 15.03MB read
Requests/sec:  42642.13
Transfer/sec:      7.16MB
"""


def test_its_figures_are_read() -> None:
    figures = figures_of(OUTPUT)
    assert (figures["requests"], figures["per_s"], figures["p50_ms"]) == (89548, 42642.13, 1.4)
    assert figures["p99_ms"] == pytest.approx(0.87)


@pytest.mark.parametrize(
    "fault",
    ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"],
)
def test_a_request_that_failed_is_a_run_that_failed(fault: str) -> None:
    with pytest.raises(Mismatch, match=fault.strip()):
        figures_of(OUTPUT.replace("Requests/sec", fault + "Requests/sec"))


def test_what_is_not_its_output_is_an_error() -> None:
    with pytest.raises(ChildProcessError, match="nothing that is known"):
        figures_of("unable to connect")
