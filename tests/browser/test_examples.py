"""Each example, as its README says: a broker, a script beside it, and the page in a browser."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.daemon import ROOT, Daemon, running_daemon

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def example(name: str) -> AsyncIterator[tuple[Daemon, str]]:
    """A broker that knows the example's origin, and the example; gives the broker and the page's URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = ("--config", "examples/broker.toml", "--server-allow-origins", url)
    async with running_daemon(*settings) as daemon:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"examples.{name}", "--url", daemon.url, "--port", str(port),
            stdout=PIPE, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                line = await process.stdout.readline()
            assert line.decode().strip() == f"open {url}"
            yield daemon, url
        finally:
            process.kill()
            await process.communicate()


async def test_two_browsers_chat(page: Page, context: BrowserContext) -> None:
    async with example("chat") as (_, url):
        other = await context.new_page()
        for each in (page, other):
            await each.goto(url)
            await expect(each.locator("#state")).to_have_text("live")
        await page.get_by_label("Your name").fill("Ada")
        await page.get_by_label("Message").fill("<b>hello</b>")
        await page.get_by_role("button", name="Send").click()
        for each in (page, other):
            await expect(each.locator("#lines li")).to_have_text(["Ada<b>hello</b>"])
        late = await context.new_page()
        await late.goto(url)
        await expect(late.locator("#lines li")).to_have_text(["Ada<b>hello</b>"])


async def test_the_dashboard_shows_every_device(page: Page) -> None:
    async with example("dashboard") as (_, url):
        await page.goto(url)
        await expect(page.locator("article")).to_have_count(6)
        await expect(page.locator("#state")).to_have_text("live")
        reading = page.locator("article output").first
        await expect(reading).to_contain_text("°C")
        before = await reading.text_content()
        await expect(reading).not_to_have_text(before or "")


async def test_a_page_refreshed_mid_answer_continues(page: Page) -> None:
    async with example("tokens") as (daemon, url):
        await page.goto(url)
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator("#answer")).to_contain_text("Every topic is a URL")
        await page.reload()
        await expect(page.locator("#answer")).to_contain_text("Every topic is a URL")
        await expect(page.locator("#answer")).not_to_contain_text("a log and a cursor")
        await expect(page.locator("#state")).to_have_text("done", timeout=30_000)
        read = await daemon.http.get("/t/answers/*", params={"limit": 1000})
        tokens = [each["data"]["token"] for each in read.json()["messages"]]
        assert len(tokens) > 200, "more than a topic keeps by default"
        assert await page.locator("#answer").text_content() == "".join(tokens)
        await expect(page.locator("#gone")).to_be_hidden()


GAP = """event: gap
data: {"op":"gap","after":0,"until":90,"reason":"evicted"}

id: k3f9a0b2-91
data: {"op":"message","topic":"answers/1","offset":91,"data":{"token":"goes on "}}

event: end
id: k3f9a0b2-91
data: {"op":"end","topic":"answers/1","offset":91,"cursor":"k3f9a0b2-91"}

"""


async def test_an_answer_whose_beginning_is_gone_says_so(page: Page) -> None:
    async with example("tokens") as (_, url):
        await page.route(
            "**/t/answers/1?since=start",
            lambda route: route.fulfill(
                body=GAP, content_type="text/event-stream", headers={"Access-Control-Allow-Origin": url}
            ),
        )
        await page.goto(f"{url}/#answers/1")
        await expect(page.locator("#answer")).to_have_text("goes on ")
        await expect(page.locator("#gone")).to_contain_text("beginning of this answer is gone")
        await expect(page.locator("#state")).to_have_text("done")


@pytest.mark.parametrize("name", ["dashboard", "tokens", "progress"])
async def test_without_a_broker_one_line_says_so(name: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"examples.{name}", "--url", url, "--port", "0", stderr=PIPE, cwd=ROOT
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith(f"no broker at {url}")
    assert said.count(b"\n") == 1


async def test_a_page_asks_for_no_icon(page: Page, troubles: list[str]) -> None:
    async with example("chat") as (_, url):
        await page.goto(url)
        await expect(page.locator("#state")).to_have_text("live")
        assert troubles == []


async def test_a_job_reports_its_progress() -> None:
    async with running_daemon() as daemon:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "examples.progress", "--url", daemon.url, stdout=PIPE, cwd=ROOT
        )
        async with asyncio.timeout(30):
            said, _ = await process.communicate()
        assert process.returncode == 0
        bars = [each for each in said.decode().split("\r") if each]
        assert bars[-1] == f"[{'#' * 40}] 100%\n"
        assert bars == sorted(bars, key=lambda bar: bar.count("#")), "in order"
