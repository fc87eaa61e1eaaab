"""The console in Chromium: the tree, the publish box, the lines to copy, and what hostile publishers get."""

import asyncio
import json
import re
import sys

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser.daemon import ROOT, Daemon

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
]

HOSTILE = (
    "<img src=x onerror=window.harmed=1>",
    "<script>window.harmed=1</script>",
    '"><svg onload=window.harmed=1>',
    "javascript:window.harmed=1",
    "{{constructor.constructor('window.harmed=1')()}}",
    "\u202eevil\u2066",
)
TOPICS_LIMIT = 5000
ROWS_LIMIT = 500


async def open_console(page: Page, daemon: Daemon, query: str = "") -> None:
    """Open the console and wait until it is live."""
    await page.goto(f"{daemon.url}/{query}")
    await expect(page.locator("#state-text")).to_have_text("Live")


def tree_row(page: Page, name: str) -> Locator:
    return page.get_by_role("treeitem").filter(has=page.get_by_text(name, exact=True))


async def test_the_page_loads_without_errors_and_asks_nobody_else(
    page: Page, daemon: Daemon, troubles: list[str]
) -> None:
    response = await page.goto(daemon.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    await expect(page.locator("#state-text")).to_have_text("Live")
    await daemon.publish("site/kitchen/temp", {"celsius": 21})
    await expect(page.locator("#messages .message")).to_have_count(1)
    assert await page.title() == "Extra console"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert troubles == []


async def test_an_empty_broker_greets_with_a_line_to_copy_and_a_sample(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon)
    await expect(page.get_by_role("heading", name="Nothing has been published yet")).to_be_visible()
    await expect(page.locator("#first-curl")).to_contain_text(f"{daemon.url}/t/site/kitchen/temp")
    await page.get_by_role("button", name="Send a sample message").click()
    await expect(page.locator("#messages .message")).to_contain_text('{"celsius": 21.5, ')
    await expect(page.locator("#first-run")).to_be_hidden()
    await expect(tree_row(page, "temp")).to_be_visible()


async def test_the_tree_shows_topics_with_their_last_values_and_rates(page: Page, daemon: Daemon) -> None:
    await daemon.publish("site/kitchen/temp", {"celsius": 20})
    await daemon.publish("site/hall/door", "open", retain=True)
    await open_console(page, daemon)
    await expect(page.locator("#topics-count")).to_have_text("2")
    await expect(tree_row(page, "door").locator(".tree-preview")).to_have_text('"open"')
    await expect(tree_row(page, "temp").locator(".tree-preview")).to_have_text('{"celsius": 20}')
    beat = tree_row(page, "temp").locator(".tree-beat")
    await expect(beat).to_have_text("")  # from before the page was opened: nobody can say when
    await daemon.publish_many([("site/kitchen/temp", {"celsius": number}) for number in range(50)])
    await expect(tree_row(page, "temp").locator(".tree-preview")).to_have_text('{"celsius": 49}')
    await expect(beat).to_have_text("10/s")  # fifty, over five seconds
    await expect(tree_row(page, "site").locator(".tree-beat")).to_have_text("10/s")
    await expect(page.locator("#rate")).to_have_text("10")
    await expect(page.locator("#total")).to_have_text("50")
    await expect(beat).to_have_text(re.compile(r"^\d s ago$"))


async def test_the_tree_is_worked_with_the_keyboard(page: Page, daemon: Daemon) -> None:
    """The keys of the ARIA tree pattern."""
    await daemon.publish("a/x", 1)
    await daemon.publish("b/y", 2)
    await open_console(page, daemon)
    await expect(page.get_by_role("treeitem")).to_have_count(5)
    tree = page.get_by_role("tree")
    await tree.focus()
    await tree.press("ArrowDown")
    await expect(tree_row(page, "a")).to_have_class(re.compile("active"))
    await tree.press("ArrowLeft")
    await expect(tree_row(page, "a")).to_have_attribute("aria-expanded", "false")
    await expect(tree_row(page, "x")).to_have_count(0)
    await tree.press("End")
    await tree.press("Enter")
    await expect(page.locator("#filter")).to_have_value("b/y")
    await expect(tree_row(page, "y")).to_have_attribute("aria-selected", "true")
    await expect(tree_row(page, "y")).to_have_attribute("aria-level", "3")
    active = await tree.get_attribute("aria-activedescendant")
    assert active == await tree_row(page, "y").get_attribute("id")


async def test_finding_a_topic_shows_the_way_to_it_alone(page: Page, daemon: Daemon) -> None:
    await daemon.publish_many([(f"fleet/van-{number}/position", number) for number in range(20)])
    await open_console(page, daemon)
    await expect(page.locator("#topics-count")).to_have_text("20")
    await page.get_by_label("Find a topic").fill("VAN-7")
    await expect(page.get_by_role("treeitem")).to_have_count(4)  # all topics, fleet, van-7, position
    await page.get_by_label("Find a topic").fill("nowhere")
    await expect(page.locator("#tree-note")).to_contain_text("No topic has that in its name")


async def test_choosing_a_node_reads_it_and_all_beneath(page: Page, daemon: Daemon) -> None:
    await daemon.publish("site/kitchen/temp", 1)
    await daemon.publish("orders/paid", 2)
    await open_console(page, daemon)
    await tree_row(page, "site").click()
    await expect(page.locator("#filter")).to_have_value("site/#")
    await expect(page.locator("#messages .message")).to_have_count(1)
    await tree_row(page, "paid").click()
    await expect(page.locator("#filter")).to_have_value("orders/paid")
    await expect(page.locator("#messages .topic")).to_have_text("orders/paid")
    await expect(page.locator("#publish-topic")).to_have_value("orders/paid")
    assert "filter=orders%2Fpaid" in page.url
    await page.reload()
    await expect(page.locator("#filter")).to_have_value("orders/paid")


async def test_the_publish_box_publishes_and_shows_the_receipt(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon)
    await page.get_by_label("Topic", exact=True).fill("line/1")
    await page.get_by_label("Payload").fill('{"state": "on"}')
    await expect(page.locator("#publish-kind")).to_have_text("JSON")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result")).to_contain_text("Offset 1")
    await expect(page.locator("#publish-result")).to_contain_text("2 subscribers")
    await page.get_by_label("Payload").fill("it's on")
    await expect(page.locator("#publish-kind")).to_have_text("text")
    await page.get_by_label("Retain", exact=True).check()
    await page.get_by_label("Payload").press("Control+Enter")
    await expect(page.locator("#publish-result")).to_contain_text("Offset 2")
    stored = (await daemon.http.get("/t/line/1")).json()["messages"]
    assert [message["data"] for message in stored] == [{"state": "on"}, "it's on"]
    assert [message.get("retained", False) for message in stored] == [False, True]


async def test_what_looks_like_json_and_is_not_is_said_before_it_is_published(
    page: Page, daemon: Daemon
) -> None:
    await open_console(page, daemon)
    warning = page.locator("#publish-warning")
    await expect(warning).to_be_hidden()
    await page.get_by_label("Payload").fill('{"bad json')
    await expect(warning).to_contain_text("This is not JSON: it will be published as text.")
    await page.get_by_label("Payload").fill("just text")
    await expect(warning).to_be_hidden()


async def test_what_is_retained_is_marked_and_can_be_cleared(page: Page, daemon: Daemon) -> None:
    """The log goes on saying that the message was retained: the mark has to know better."""
    await daemon.publish("site/door", "open", retain=True)
    await daemon.publish("site/window", "shut", retain=True)
    await open_console(page, daemon)
    door, window = tree_row(page, "door"), tree_row(page, "window")
    await expect(door).to_have_class(re.compile("retained"))
    await expect(door).to_have_accessible_name('door, retained, "open"')
    await expect(page.locator("#messages .topic .pin")).to_have_count(2)
    await expect(page.locator("#publish-kept")).to_be_hidden()
    await door.click()
    await page.locator("#publish-clear").click()
    await expect(page.locator("#publish-result")).to_contain_text("Cleared what was retained on site/door")
    await expect(page.locator("#publish-kept")).to_be_hidden()
    await expect(door).not_to_have_class(re.compile("retained"))
    await window.click()
    await expect(page.locator("#messages .message")).to_have_count(1)
    await page.locator("#messages summary").click()
    await page.get_by_role("button", name="Clear what is retained", exact=True).click()
    await expect(window).not_to_have_class(re.compile("retained"))
    read = await daemon.http.get("/t/**", params={"since": "now", "retained": "1"})
    assert read.json()["messages"] == []
    await daemon.publish("site/gate", "new", retain=True)
    await expect(tree_row(page, "gate")).to_have_class(re.compile("retained"))
    await page.goto(f"{daemon.url}/?filter=%23")
    await expect(tree_row(page, "gate")).to_have_class(re.compile("retained"))
    await expect(window).to_be_visible()
    await expect(window).not_to_have_class(re.compile("retained"))


@pytest.mark.parametrize("width", [1440, 1241, 390])
async def test_the_lines_to_copy_are_in_sight_as_a_whole(page: Page, daemon: Daemon, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await open_console(page, daemon)
    await page.get_by_label("Topic", exact=True).evaluate(
        "(field) => (field.value = 'long/'.repeat(30) + 'end')"
    )
    await page.get_by_label("Payload").evaluate(
        "(field) => field.dispatchEvent(new Event('input', { bubbles: true }))"
    )
    await expect(page.locator("#snippet-publish")).to_contain_text("long/end")
    cut = "(boxes) => boxes.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.id)"
    assert await page.locator(".code").evaluate_all(cut) == []


async def test_the_receipt_is_in_sight_on_a_small_laptop(page: Page, daemon: Daemon) -> None:
    await page.set_viewport_size({"width": 1100, "height": 700})
    await open_console(page, daemon)
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result")).to_contain_text("Offset 1")
    await expect(page.locator("#publish-result")).to_be_in_viewport(ratio=1)
    await expect(page.locator("#publish-button")).to_be_in_viewport(ratio=1)


async def test_every_second_publishes_again(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon)
    await page.get_by_label("Every second").check()
    await expect(page.locator("#messages .message")).to_have_count(3)
    await page.get_by_label("Every second").uncheck()


@pytest.mark.parametrize(
    ("topic", "complaint"), [("a/+/b", "invalid_topic"), ("$broker/x", "invalid_topic"), ("a/../b", "URL")]
)
async def test_a_topic_that_cannot_be_published_to_is_answered_with_the_reason(
    page: Page, daemon: Daemon, topic: str, complaint: str
) -> None:
    await open_console(page, daemon)
    await page.get_by_label("Topic", exact=True).fill(topic)
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result")).to_contain_text(complaint)
    await expect(page.locator("#publish-result")).to_have_class(re.compile("bad"))
    await expect(page.locator("#messages .message")).to_have_count(0)


async def copied(page: Page, name: str) -> str:
    """Press a copy button, and return what is on the clipboard."""
    button = page.locator(f"[data-copies={name}]")
    await button.click()
    await expect(button).to_have_text("Copied")
    text = await page.evaluate("navigator.clipboard.readText()")
    await expect(button).to_have_text("Copy")
    return str(text)


async def in_shell(command: str) -> str:
    """Run what somebody would paste into a shell, and return what it says."""
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
    )
    async with asyncio.timeout(20):
        said, _ = await shell.communicate()
    return said.decode()


AWKWARD = """{"it's": "a \\"$HOME\\" `test`", "price": 12345678901234567890}"""


@pytest.mark.parametrize("payload", ['{"celsius": 21.5}', "it's $HOME `date`", "@file", AWKWARD])
async def test_the_curl_line_that_publishes_runs(page: Page, daemon: Daemon, payload: str) -> None:
    await open_console(page, daemon)
    await page.get_by_label("Topic", exact=True).fill("site/mother's room/temp")
    await page.get_by_label("Payload").fill(payload)
    assert '"offset":1' in await in_shell(await copied(page, "snippet-publish") + " --silent")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result")).to_contain_text("Offset 2")
    typed, clicked = (await daemon.http.get("/t/**")).json()["messages"]
    assert typed["topic"] == "site/mother's room/temp"
    assert typed["data"] == clicked["data"]


async def test_the_curl_line_that_subscribes_runs(page: Page, daemon: Daemon) -> None:
    await daemon.publish("site/kitchen/temp", {"celsius": 21})
    await open_console(page, daemon, "?filter=site/%2B/temp&since=start")
    line = await copied(page, "snippet-subscribe")
    said = await in_shell(f"{line} --silent --max-time 1")
    assert '"data":{"celsius":21}' in said


async def test_the_javascript_lines_run(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon, "?filter=site/%23&since=start")
    await page.get_by_role("tab", name="JavaScript").click()
    publish = await copied(page, "snippet-publish")
    subscribe = await copied(page, "snippet-subscribe")
    await page.evaluate(f"async () => {{ {publish} }}")
    await page.evaluate(
        f"() => {{ window.heard = []; console.log = (...said) => window.heard.push(said); {subscribe} }}"
    )
    await page.wait_for_function("window.heard.length === 1")
    assert await page.evaluate("window.heard[0]") == ["site/kitchen/temp", {"celsius": 21.5}]


async def test_the_python_lines_run(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon, "?filter=site/%23&since=start")
    await page.get_by_label("Payload").fill('{"on": true, "off": null, "text": "true\\nnull"}')
    await page.get_by_role("tab", name="Python").click()
    publish = await copied(page, "snippet-publish")
    subscribe = await copied(page, "snippet-subscribe")
    await run_python(publish)
    await expect(page.locator("#messages .message")).to_contain_text(
        '{"on": true, "off": null, "text": "true\\nnull"}'
    )
    listening = subscribe.replace(
        "print(message.topic, message.data)", "print(message.topic, message.data); return"
    )
    said = await run_python(listening)
    assert said.strip() == "site/kitchen/temp {'on': True, 'off': None, 'text': 'true\\nnull'}"


async def run_python(source: str) -> str:
    python = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        source,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    async with asyncio.timeout(20):
        said, _ = await python.communicate()
    assert python.returncode == 0, said.decode()
    return said.decode()


async def test_what_publishers_send_is_text_and_nothing_else(
    page: Page, daemon: Daemon, troubles: list[str]
) -> None:
    await open_console(page, daemon)
    for hostile in HOSTILE:
        await daemon.publish_many([(f"{hostile}/{hostile}", {hostile: hostile}), (hostile, [hostile])])
    await expect(page.locator("#messages .message")).to_have_count(2 * len(HOSTILE))
    for row in await page.locator("#messages summary").all():
        await row.click()
    await page.get_by_role("treeitem").last.click()
    await expect(page.locator("#filter")).not_to_have_value("#")
    shown = await page.locator("#messages").inner_text()
    assert "<img src=x" in await page.get_by_role("tree").inner_text() + shown
    strangers = "#messages img, #messages script, [role=tree] img, [role=tree] script, [onload], [onerror]"
    assert await page.locator(strangers).count() == 0
    assert await page.evaluate("window.harmed") is None
    assert troubles == []


async def test_a_message_that_is_large_or_deep_is_shown_in_part(
    page: Page, daemon: Daemon, troubles: list[str]
) -> None:
    await open_console(page, daemon)
    await daemon.publish("large", "x" * 900_000)
    await daemon.publish("deep", json.loads("[" * 100 + "]" * 100))
    await daemon.publish("exact", {"id": 12345678901234567890})
    rows = page.locator("#messages .message")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(1).locator(".value")).to_have_text("[[[[[[[…]]]]]]]")
    await expect(rows.nth(2).locator(".value")).to_have_text('{"id": 12345678901234567890}')
    await expect(rows.nth(0).locator(".value")).to_have_text(re.compile('^"x{200,300}…?$'))
    await rows.nth(0).click()
    await expect(rows.nth(0).locator("pre")).to_contain_text("characters in all: too long to be kept here")
    assert len(await rows.nth(0).inner_text()) < 5000
    assert troubles == []


async def test_at_most_five_thousand_topics_are_listed(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon)
    for start in range(0, TOPICS_LIMIT + 200, 400):
        await daemon.publish_many([(f"dev/{number}", number) for number in range(start, start + 400)])
    await expect(page.locator("#total")).to_have_text("5,200")
    await expect(page.locator("#topics-count")).to_have_text("5,000")
    await expect(page.locator("#tree-note")).to_contain_text("5,000 are listed at most")
    assert await page.get_by_role("treeitem").count() < 100
    await page.get_by_role("tree").press("End")
    await expect(tree_row(page, "4999")).to_be_visible()


async def test_two_thousand_messages_a_second_all_arrive(page: Page, daemon: Daemon) -> None:
    await open_console(page, daemon)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for batch in range(30):
        await daemon.publish_many(
            [(f"load/{number % 20}", {"n": batch * 200 + number}) for number in range(200)]
        )
        await asyncio.sleep(max(0.0, began + (batch + 1) / 10 - loop.time()))
    await expect(page.locator("#total")).to_have_text("6,000")
    await expect(page.locator("#messages .message")).to_have_count(ROWS_LIMIT)
    await expect(page.locator("#messages .message").last).to_contain_text('{"n": 5999}')


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
async def test_the_page_follows_the_colour_scheme(
    page: Page, daemon: Daemon, scheme: str, is_dark: bool
) -> None:
    """And what is written on it can be read: WCAG 2.2 1.4.3 asks for a contrast of 4.5."""
    await page.emulate_media(color_scheme="dark" if is_dark else "light", reduced_motion="reduce")
    await open_console(page, daemon)
    await daemon.publish("site/kitchen/temp", {"celsius": 21, "unit": "C", "ok": True})
    await expect(page.locator("#messages .message")).to_have_count(1)
    poor = await page.evaluate(CONTRASTS)
    assert poor == []
    picture = await page.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert (
        await page.evaluate("luminance(getComputedStyle(document.body).backgroundColor)") < 0.2
    ) is is_dark


CONTRASTS = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    window.luminance = (colour) => {
        const [red, green, blue] = rgba(colour).map((value) => linear(value / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (rgba(colour)[3] > 250) return colour;
        }
        return "white";
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.data.trim();
        if (!text || !element.checkVisibility() || element.closest("button:disabled")) continue;
        const both = [getComputedStyle(element).color, ground(element)].map(luminance);
        const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        if (contrast < 4.5) poor.push(`${text}: ${contrast.toFixed(2)}`);
    }
    return poor;
}"""


async def test_a_phone_shows_one_part_at_a_time_and_nothing_sideways(
    browser: Browser, daemon: Daemon
) -> None:
    context = await browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = await context.new_page()
    await open_console(page, daemon)
    await daemon.publish(f"a/rather/long/topic/{'x' * 200}", {"long": "y" * 500})
    await expect(page.locator("#messages .message")).to_have_count(1)
    for view in ("Topics", "Stream", "Publish", "Code"):
        await page.get_by_role("button", name=view, exact=True).filter(has=page.locator("svg")).last.click()
        await expect(page.locator("main .panel:visible")).to_have_count(1)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()


@pytest.mark.parametrize("width", [2200, 1920, 1280, 1241, 1240, 961, 960, 820, 761, 760, 390])
async def test_nothing_overlaps_at_any_width(page: Page, daemon: Daemon, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await open_console(page, daemon)
    overlaps = await page.evaluate(
        """() => {
            const all = document.querySelectorAll("button, .field, .check, .segments, .state, .figure, h2");
            const controls = [...all].filter((one) => one.checkVisibility() && !one.closest(".scroller"));
            const boxes = controls.map((control) => [control, control.getBoundingClientRect()]);
            return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
                .filter(([other, b]) => !one.contains(other) && !other.contains(one)
                    && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom && b.top < a.bottom)
                .map(([other]) => `${one.id || one.className} on ${other.id || other.className}`));
        }"""
    )
    assert overlaps == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_every_control_has_a_name(page: Page, daemon: Daemon) -> None:
    """WCAG 2.2 4.1.2: as a screen reader would say it."""
    await open_console(page, daemon)
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, [tabindex]")]
            .filter((control) => control.checkVisibility())
            .filter((control) => !(control.ariaLabel || control.labels?.length || control.textContent.trim()))
            .map((control) => control.outerHTML)"""
    )
    assert nameless == []
