"""The console's stream in Chromium: the faces, and what happens when the connection is dropped."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, expect

from tests.browser.daemon import Daemon, running_daemon

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
]

FACES = {"websocket": "WebSocket", "sse": "SSE", "poll": "long-poll"}
on_each_face = pytest.mark.parametrize("face", FACES)


async def open_stream(
    page: Page, daemon: Daemon, face: str, filter: str = "site/%23", since: str = "now"
) -> None:
    """Open the console on a filter, and wait until the stream is live."""
    await page.goto(f"{daemon.url}/?filter={filter}&face={face}&since={since}")
    await expect(page.locator("#stream-state")).to_have_text(f"Live over {FACES[face]}")
    await expect(page.locator("#state-text")).to_have_text("Live")
    await expect(page.locator("#stream-cursor")).not_to_be_empty()


async def expect_offsets(page: Page, offsets: Iterable[int]) -> None:
    """Wait until the rows have just these offsets: they are drawn a frame later than what counts them."""
    await expect(page.locator("#messages .offset")).to_have_text([str(offset) for offset in offsets])


@on_each_face
async def test_what_is_published_arrives(page: Page, daemon: Daemon, face: str, troubles: list[str]) -> None:
    await open_stream(page, daemon, face)
    await daemon.publish("elsewhere", 0)
    await daemon.publish("site/kitchen/temp", {"celsius": 21.5, "unit": "C"})
    row = page.locator("#messages .message")
    await expect(row).to_have_count(1)
    await expect(row.locator(".offset")).to_have_text("2")
    await expect(row.locator(".topic")).to_have_text("site/kitchen/temp")
    await expect(row.locator(".value")).to_have_text('{"celsius": 21.5, "unit": "C"}')
    await expect(row.locator(".age")).to_have_text(re.compile(r"^\d+ s$"))
    await row.locator("summary").click()
    await expect(row.locator("dl")).to_contain_text(f"over {FACES[face]}")
    await expect(row.locator("pre")).to_have_text('{\n  "celsius": 21.5,\n  "unit": "C"\n}')
    assert troubles == []


@on_each_face
@pytest.mark.parametrize(
    ("since", "expected"), [("start", range(1, 31)), ("last:20", range(11, 31)), ("now", [31])]
)
async def test_a_stream_starts_where_it_is_told(
    page: Page, daemon: Daemon, face: str, since: str, expected: range | list[int]
) -> None:
    await daemon.publish_many([("site/x", number) for number in range(30)])
    await open_stream(page, daemon, face, since=since)
    if since == "now":
        await daemon.publish("site/x", 30)
    await expect_offsets(page, expected)


@on_each_face
async def test_retained_messages_come_first_and_do_not_move_the_cursor_back(
    page: Page, daemon: Daemon, face: str
) -> None:
    await daemon.publish("site/old", "kept", retain=True)
    await daemon.publish("site/x", "gone by")
    await open_stream(page, daemon, face)
    await expect(page.locator("#messages .offset")).to_have_text(["1"])
    await drop_for_a_second(page)
    await expect(page.locator(".seam")).to_contain_text("no message missed")
    await expect_offsets(page, [1])


async def drop_for_a_second(page: Page) -> None:
    await page.get_by_label("Come back after").select_option("1")
    await page.get_by_role("button", name="Drop connection").click()
    await expect(page.locator("#stream-state")).to_have_text("Dropped")
    await expect(page.locator("#stream-state")).to_contain_text("Live")


@on_each_face
async def test_a_dropped_connection_resumes_with_each_missed_message_once(
    page: Page, daemon: Daemon, face: str
) -> None:
    await open_stream(page, daemon, face)
    for number in range(3):
        await daemon.publish("site/x", number)
    await expect(page.locator("#messages .message")).to_have_count(3)
    await page.get_by_role("button", name="Drop connection").click()
    seam = page.locator(".seam")
    await expect(seam).to_contain_text("Dropped at offset 3")
    await expect(seam).to_contain_text(re.compile(r"back in [123] s"))
    await expect(page.locator("#state-text")).to_have_text("Dropped")
    for number in range(6):
        await daemon.publish("site/x", number)
        await daemon.publish("elsewhere", number)
    await expect(seam).to_contain_text("6 published meanwhile")
    await expect(page.locator("#messages .message")).to_have_count(3)
    await expect(seam).to_contain_text("Dropped at offset 3, resumed at 4")
    await expect(seam).to_contain_text("6 missed messages replayed · nothing lost, nothing twice")
    await expect(page.locator("#messages .replayed")).to_have_count(6)
    last = await daemon.publish("site/x", "live again")
    await expect(page.locator("#messages .message")).to_have_count(10)
    await expect_offsets(page, [1, 2, 3, 4, 6, 8, 10, 12, 14, last])
    await expect(page.locator("#state-text")).to_have_text("Live")


async def test_what_became_of_it_stays_in_sight(page: Page, daemon: Daemon) -> None:
    """At twenty messages a second the seam scrolls away at once; the foot of the stream goes on saying it."""
    await open_stream(page, daemon, "websocket")
    outcome = page.locator("#outcome")
    await daemon.publish("site/x", 0)
    await page.get_by_role("button", name="Pause").click()
    await daemon.publish("site/x", 1)
    await page.locator("#pause").click()
    await expect(page.locator(".seam")).to_contain_text("1 missed message replayed")
    await expect(outcome).to_be_hidden()
    await daemon.publish_many([("site/x", number) for number in range(100)])
    await expect(page.locator(".seam")).not_to_be_in_viewport()
    await expect(outcome).to_have_text(
        "Paused at offset 1, resumed at 2 1 replayed · nothing lost, nothing twice"
    )
    last = await daemon.publish("site/x", "still followed")
    await expect(page.locator("#messages .offset").last).to_have_text(str(last))
    await expect(page.locator("#messages .offset").last).to_be_in_viewport()
    await page.get_by_label("Filter").fill("site/y")
    await page.get_by_label("Filter").press("Enter")
    await expect(outcome).to_be_hidden()


async def test_a_stream_comes_back_with_the_tree(page: Page, daemon: Daemon) -> None:
    """The monitor's delay and the stream's are drawn apart: the first that is back brings the other back."""
    await page.add_init_script(
        """
        const Real = WebSocket;
        window.sockets = [];
        window.WebSocket = class extends Real {
            constructor(...all) {
                super(...all);
                window.sockets.push(this);
            }
        };
        """
    )
    await open_stream(page, daemon, "websocket")
    # The stream is lost, and would be away for long; then the monitor is lost, and is back soon.
    await page.evaluate(
        """() => {
            const later = window.setTimeout;
            window.setTimeout = (work, ms) => {
                const isFirstDelay = ms > 200;
                if (isFirstDelay) window.setTimeout = later;
                return later(work, isFirstDelay ? 1e6 : ms);
            };
            window.sockets.at(-1).close(4000);
        }"""
    )
    await expect(page.locator("#stream-state")).to_have_text("Connection lost, coming back")
    await page.evaluate("window.sockets[0].close(4000)")
    await expect(page.locator("#stream-state")).to_have_text("Live over WebSocket")
    await expect(page.locator("#state-text")).to_have_text("Live")


async def test_resume_does_not_wait(page: Page, daemon: Daemon) -> None:
    await open_stream(page, daemon, "websocket")
    await page.get_by_label("Come back after").select_option("30")
    await page.get_by_role("button", name="Drop connection").click()
    await page.locator(".seam").get_by_role("button", name="Resume").click()
    await expect(page.locator("#stream-state")).to_have_text("Live over WebSocket")


async def test_every_face_takes_over_from_the_last_with_one_cursor(page: Page, daemon: Daemon) -> None:
    """What is received on one face is gone on with on any other: nothing lost, nothing twice."""
    await open_stream(page, daemon, "websocket")
    sending = asyncio.create_task(send_steadily(daemon, 60))
    for label in ("SSE", "Long-poll", "WebSocket", "Long-poll", "SSE"):
        seen = await page.locator("#messages .message").count()
        await expect(page.locator("#messages .message").nth(seen + 4)).to_be_attached()
        await page.get_by_label(label, exact=True).check()
    await sending
    await expect(page.locator("#messages .message")).to_have_count(60)
    await expect_offsets(page, range(1, 61))
    await expect(page.locator(".seam")).to_have_count(5)
    await expect(page.locator(".seam.warning")).to_have_count(0)


async def send_steadily(daemon: Daemon, number: int) -> None:
    for count in range(number):
        await daemon.publish("site/x", count)
        await asyncio.sleep(0.05)


async def test_a_paused_stream_continues_from_where_it_was(page: Page, daemon: Daemon) -> None:
    await open_stream(page, daemon, "websocket")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#state-text")).to_have_text("Paused")
    await daemon.publish("site/x", 1)
    await page.locator("#pause").click()
    await expect(page.locator(".seam")).to_contain_text("1 missed message replayed · nothing lost")
    await expect_offsets(page, [1])


@on_each_face
async def test_what_retention_has_evicted_is_told_as_a_gap(page: Page, face: str) -> None:
    async with running_daemon("--retention-messages", "4") as daemon:
        await open_stream(page, daemon, face)
        await daemon.publish("site/x", 0)
        await expect(page.locator("#messages .message")).to_have_count(1)
        await page.get_by_role("button", name="Pause").click()
        await daemon.publish_many([("site/x", number) for number in range(10)])
        await page.locator("#pause").click()
        await expect(page.locator(".seam.warning").last).to_contain_text("Gap: messages after")
        await expect(page.locator(".seam").first).to_contain_text("not all of them")
        await expect(page.locator("#messages .message")).to_have_count(5)
        await expect_offsets(page, [1, 8, 9, 10, 11])


@on_each_face
async def test_a_filter_that_is_none_is_answered_with_the_reason(
    page: Page, daemon: Daemon, face: str
) -> None:
    await open_stream(page, daemon, face)
    await page.get_by_label("Filter").fill("site/#/temp")
    await page.get_by_label("Filter").press("Enter")
    await expect(page.locator("#filter-problem")).to_contain_text("invalid_filter")
    await page.get_by_label("Filter").fill("site/+")
    await page.get_by_label("Filter").press("Enter")
    await expect(page.locator("#filter-problem")).to_be_hidden()
    await expect(page.locator("#stream-state")).to_have_text(f"Live over {FACES[face]}")
    await daemon.publish("site/x", 1)
    await expect(page.locator("#messages .message")).to_have_count(1)


@on_each_face
async def test_a_broker_that_goes_away_is_said_to_be_and_found_again(
    page: Page, daemon: Daemon, face: str
) -> None:
    """What comes back has an empty log of another epoch: the page says that what was lost cannot be known."""
    await daemon.publish("site/before", 1)
    await open_stream(page, daemon, face, since="start")
    await expect(page.locator("#messages .message")).to_have_count(1)
    await daemon.stop()
    await expect(page.get_by_role("alert").filter(has_text="is away")).to_contain_text("It does not answer")
    await expect(page.locator("#state-text")).to_have_text("Reconnecting")
    async with running_daemon(port=daemon.port) as reborn:
        with suppress(PlaywrightError):  # unless the page has found it by itself
            await page.locator("#away-retry").click(timeout=3000)
        await expect(page.locator("#away")).to_be_hidden()
        await expect(page.locator(".seam").last).to_contain_text("a new log")
        await reborn.publish("site/after", 2)
        await expect(page.locator("#messages .topic").last).to_have_text("site/after")
        await expect(page.locator("#topics-count")).to_have_text("1")


async def test_a_stream_that_is_scrolled_up_stays_and_counts_what_is_new(page: Page, daemon: Daemon) -> None:
    await daemon.publish_many([("site/x", number) for number in range(100)])
    await open_stream(page, daemon, "websocket", since="start")
    await expect(page.locator("#messages .offset").last).to_be_in_viewport()
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -1500)
    await expect(page.locator("#messages .offset").last).not_to_be_in_viewport()
    await daemon.publish_many([("site/x", number) for number in range(7)])
    await page.get_by_role("button", name="7 new").click()
    await expect(page.locator("#messages .offset").last).to_be_in_viewport()
    await expect(page.locator("#jump")).to_be_hidden()
