"""The console's modules by themselves: each is imported into a page, and its functions are called."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.daemon import running_daemon

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin(browser: Browser) -> AsyncIterator[Page]:
    """A page of a broker's origin, from which its modules can be imported."""
    async with running_daemon() as daemon:
        page = await browser.new_page()
        await page.goto(f"{daemon.url}/healthz")
        yield page
        await page.close()


async def call(page: Page, module: str, expression: str) -> object:
    """Evaluate an expression in which `it` is the module."""
    result: object = await page.evaluate(f"import('/console/{module}').then((it) => {expression})")
    return result


MATCHES = [
    # MQTT 5.0 section 4.7.1, its examples first
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "anything/at/all", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("sport", "Sport", False),
    ("sport", "sport/tennis", False),
    # 4.7.2: a wildcard at the first level does not match topics that start with `$`
    ("#", "$SYS/monitor", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
]


@pytest.mark.parametrize(("filter", "topic", "expected"), MATCHES)
async def test_filters_match_as_mqtt_says(origin: Page, filter: str, topic: str, expected: bool) -> None:
    assert await call(origin, "filters.js", f"it.matches({filter!r}, {topic!r})") is expected


async def test_paths_name_topics_and_filters(origin: Page) -> None:
    """docs/protocol.md, words: a level `*` is read as `+`, a last level `**` as `#`."""
    assert await call(origin, "filters.js", "it.filterPath('a b/+/#')") == "/t/a%20b/*/**"
    assert await call(origin, "filters.js", "it.topicPath('a/+/#?')") == "/t/a/%2B/%23%3F"
    assert await call(origin, "filters.js", "it.topicPath('/ü\\'/\\ud800')") == "/t//%C3%BC%27/%EF%BF%BD"
    assert await call(origin, "filters.js", "['a/../b', '.', 'a..b/...'].map(it.fitsPath)") == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("{'a': 1, 'b c': [true, null, 'x']}", '{"a": 1, "b c": [true, null, "x"]}'),
        ("'two\\nlines'", '"two\\nlines"'),
        ("[[[[[[[[1]]]]]]]]", "[[[[[[[…]]]]]]]"),
        ("new it.Bytes('AAECAw==')", "4 bytes AAECAw=="),
        ("undefined", "null"),
        ("it.parse('[9007199254740993, 0.5]')", "[9007199254740993, 0.5]"),
    ],
)
async def test_values_are_written_on_one_line(origin: Page, value: str, line: str) -> None:
    assert await call(origin, "values.js", f"it.oneLine({value}, 100)") == line


@pytest.mark.parametrize(
    "value",
    [
        "'x'.repeat(1e6)",
        "Array(1e5).fill({ a: 'b' })",
        "Object.fromEntries(Array.from({ length: 1e4 }, (_, i) => [`key ${i}`.repeat(50), i]))",
    ],
)
async def test_a_line_stops_near_its_limit_with_a_mark(origin: Page, value: str) -> None:
    line = await call(origin, "values.js", f"it.oneLine({value}, 100)")
    assert isinstance(line, str)
    assert len(line) < 130
    assert line.endswith("…")


async def test_a_meter_counts_whole_seconds(origin: Page) -> None:
    program = """(() => {
        const meter = new it.Meter();
        meter.add(100, 10);
        const running = meter.rate(100);
        meter.add(101, 5);
        const rates = [102, 106, 107].map((second) => meter.rate(second));
        return [running, ...rates, meter.series(131).slice(0, 2), meter.rate(500)];
    })()"""
    # 10 and 5 over five seconds; then 5 alone; then nothing is young enough
    assert await call(origin, "meter.js", program) == [0, 3, 1, 0, [5, 0], 0]


async def test_numbers_and_times_are_short(origin: Page) -> None:
    rates = "[0, 0.4, 3, 9.96, 12.4, 1234, 45678].map(it.rate)"
    assert await call(origin, "words.js", rates) == ["0", "0.4", "3", "10", "12", "1.2k", "46k"]
    assert await call(origin, "words.js", "[0.4, 4, 7200].map(it.ago)") == ["now", "4 s ago", "2 h ago"]
    ages = "[0.4, 1, 59.9, 60, 7200, 200000].map(it.age)"
    assert await call(origin, "words.js", ages) == ["now", "1 s", "59 s", "1 min", "2 h", "2 d"]


async def test_a_cursor_is_taken_apart(origin: Page) -> None:
    positions = "['k3f9a0b2-17', 'k3f9a0b2-1-7'].map(it.positionOf)"
    assert await call(origin, "faces.js", positions) == [
        {"epoch": "k3f9a0b2", "offset": 17, "known": 17},
        {"epoch": "k3f9a0b2", "offset": 1, "known": 7},
    ]
