"""One Chromium for the whole run; a broker and a page for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.daemon import Daemon, running_daemon

__all__ = ["browser", "context", "daemon", "page", "troubles"]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EXPECT_LIMIT_MS = 10_000

expect.set_options(timeout=EXPECT_LIMIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def daemon() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, troubles: list[str]) -> Page:
    """An empty page whose errors and requests to strangers go to `troubles`."""
    page = await context.new_page()
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on(
        "console", lambda said: troubles.append(f"console: {said.text}") if said.type == "error" else None
    )
    page.on(
        "request",
        lambda request: troubles.append(f"request: {request.url}") if is_stranger(request.url) else None,
    )
    return page


@pytest_asyncio.fixture(loop_scope="session")
async def troubles() -> list[str]:
    """What went wrong on the page so far."""
    return []


def is_stranger(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:"))
