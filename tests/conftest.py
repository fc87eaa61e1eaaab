"""What the whole suite shares: which build is tested, the browser, and the count that CI prints.

Read from the environment:

    EXTRA_EXPECT    compiled or interpreted: refuse to test the other one
    EXTRA_TALLY     a file to which the counts are added, as "passed failed skipped"
    CHROMIUM        the browser to drive; otherwise the first of CHROMIUM_NAMES on the PATH
    CI              set: there must be a browser, and a test in it or of the daemon that skips has failed
"""

import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import extra

__all__ = ["chromium"]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NEVER_SKIPPED_IN_CI = ("e2e", "browser")
"""Markers, and the directories of the tests that bear them."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the Chromium to drive."""
    path = find_chromium()
    if path is None:
        pytest.fail(f"no browser: looked for $CHROMIUM, {', '.join(CHROMIUM_NAMES)}")
    return path


def find_chromium() -> str | None:
    names = (os.environ["CHROMIUM"],) if os.environ.get("CHROMIUM") else CHROMIUM_NAMES
    return next((path for name in names if (path := shutil.which(name))), None)


def in_ci() -> bool:
    return os.environ.get("CI", "") not in ("", "0", "false")


def running_mode() -> str:
    return "compiled" if extra.COMPILED else "interpreted"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kill-rounds",
        type=int,
        default=3,
        help="how often the broker is killed under those who publish and subscribe (tests/e2e/test_kill.py)",
    )


def pytest_configure() -> None:
    expected = os.environ.get("EXTRA_EXPECT") or running_mode()
    if expected != running_mode():
        place = Path(extra.__file__).parent
        raise pytest.UsageError(f"asked to test {expected} code, but what {place} holds is {running_mode()}")
    # A busy machine is no find, so hypothesis does not look at the clock; in CI it draws no lots either.
    settings.register_profile(
        "extra",
        settings.get_profile("ci" if in_ci() else "default"),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("extra")
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # started in the background: as our processes would be
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    return [f"extra: {running_mode()}", f"chromium: {find_chromium() or 'none, so no browser tests'}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser tests out where there is no browser, as the header says; in CI they run and fail."""
    if find_chromium() or in_ci():
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, where all that they need is there, a skip of these tests would hide that they do not run."""
    report = yield
    if any(item.get_closest_marker(name) for name in NEVER_SKIPPED_IN_CI) and not hasattr(report, "wasxfail"):
        refuse_skip_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if not set(NEVER_SKIPPED_IN_CI).isdisjoint(collector.path.parts):
        refuse_skip_in_ci(report)
    return report


def refuse_skip_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if in_ci() and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"in CI this must run: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tally = os.environ.get("EXTRA_TALLY")
    if tally:
        counts = {name: len(reports) for name, reports in terminalreporter.stats.items()}
        passed = counts.get("passed", 0) + counts.get("xfailed", 0)
        failed = counts.get("failed", 0) + counts.get("error", 0)
        with Path(tally).open("a") as file:
            file.write(f"{passed} {failed} {counts.get('skipped', 0)}\n")
