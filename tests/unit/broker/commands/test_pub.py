"""`extra-broker pub`: what is published, in what order, how much at once, and what the exit status says."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from types import ModuleType, TracebackType

import pytest

from broker.commands import pub
from broker.commands.options import UsageError
from broker.commands.pub import Publication, publish_lines, run
from extra.errors import BrokerClosed, InvalidPayload

PLAIN = Publication("a/b", retain=False, ttl=None, content_type=None)


class FakeClient:
    """Takes what is published, and answers when `gate` is open. Errors are by payload."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.published: list[tuple[str, bytes, str]] = []
        self.options: list[tuple[bool, float | None]] = []
        self.errors: dict[bytes, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0

    async def publish(
        self, topic: str, data: object, *, retain: bool, ttl: float | None, content_type: str
    ) -> object:
        assert isinstance(data, bytes)
        self.published.append((topic, data, content_type))
        self.options.append((retain, ttl))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            if data in self.errors:
                raise self.errors[data]
        finally:
            self.under_way -= 1
        return None

    async def __aenter__(self) -> "FakeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


Install = Callable[[FakeClient], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes the command find a client that is given, with nothing about it in the environment."""
    monkeypatch.delenv("EXTRA_BROKER_URL", raising=False)

    def install_client(client: FakeClient) -> None:
        module = ModuleType("extra.client")

        def make(url: str) -> FakeClient:
            if "://" not in url:
                raise ValueError(f"url {url!r} is not http(s):// or ws(s):// and a host")
            client.url = url
            return client

        vars(module)["Client"] = make
        monkeypatch.setitem(sys.modules, "extra.client", module)

    return install_client


async def lines_of(*lines: bytes) -> AsyncGenerator[bytes, None]:
    for line in lines:
        yield line


async def test_lines_are_published_in_order_each_as_what_it_looks_like() -> None:
    """docs/protocol.md: JSON if it parses as JSON, else text if it is UTF-8, else bytes."""
    client = FakeClient()
    assert await publish_lines(client, PLAIN, lines_of(b'{"a": 1}', b"hello", b"\xff\0", b"", b"12"))
    assert client.published == [
        ("a/b", b'{"a": 1}', "application/json"),
        ("a/b", b"hello", "text/plain"),
        ("a/b", b"\xff\0", "application/octet-stream"),
        ("a/b", b"", "text/plain"),
        ("a/b", b"12", "application/json"),
    ]


async def test_options_go_with_every_line() -> None:
    client = FakeClient()
    publication = Publication("a", retain=True, ttl=2.5, content_type="text/csv")
    assert await publish_lines(client, publication, lines_of(b"1", b"2"))
    assert client.published == [("a", b"1", "text/csv"), ("a", b"2", "text/csv")]
    assert client.options == [(True, 2.5), (True, 2.5)]


async def test_no_more_than_so_many_lines_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pub, "IN_FLIGHT_LIMIT_MESSAGES", 3)
    client = FakeClient()
    client.gate.clear()
    read = []

    async def lines() -> AsyncGenerator[bytes, None]:
        for number in range(10):
            read.append(number)
            yield b"%d" % number

    publishing = asyncio.ensure_future(publish_lines(client, PLAIN, lines()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.under_way == 3
    assert len(read) == 4  # one is in hand
    client.gate.set()
    assert await publishing
    assert [payload for _, payload, _ in client.published] == [b"%d" % number for number in range(10)]
    assert client.most_under_way == 3


async def test_no_more_than_so_many_bytes_are_under_way_but_one_line_always_may() -> None:
    client = FakeClient()
    client.gate.clear()
    large = b"x" * (pub.IN_FLIGHT_LIMIT_BYTES // 2)
    larger = b"y" * (pub.IN_FLIGHT_LIMIT_BYTES + 1)
    publishing = asyncio.ensure_future(publish_lines(client, PLAIN, lines_of(large, large, b"z", larger)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.under_way == 2
    client.gate.set()
    assert await publishing
    assert len(client.published) == 4
    assert client.most_under_way == 2


async def test_line_that_is_refused_is_told_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient()
    client.errors[b"bad"] = InvalidPayload("payload is not JSON")
    assert not await publish_lines(client, PLAIN, lines_of(b"1", b"bad", b"3"))
    assert len(client.published) == 3
    assert capsys.readouterr().err == "extra-broker: line 2: payload is not JSON\n"


@pytest.mark.parametrize(
    "error", [BrokerClosed("no broker"), TimeoutError("no answer"), ConnectionResetError()]
)
async def test_broker_that_is_gone_ends_it(error: Exception) -> None:
    """Also when the lines never end: what reads them is ended with it."""
    client = FakeClient()
    client.errors[b"last"] = error
    was_closed = False

    async def lines() -> AsyncGenerator[bytes, None]:
        nonlocal was_closed
        try:
            yield b"last"
            await asyncio.Event().wait()
        finally:
            was_closed = True

    with pytest.raises(type(error)):
        await publish_lines(client, PLAIN, lines())
    assert was_closed


def test_one_payload_is_published(install: Install) -> None:
    client = FakeClient()
    install(client)
    assert run(["a/b", '{"celsius": 21}', "--retain", "--ttl", "60"]) == 0
    assert client.published == [("a/b", b'{"celsius": 21}', "application/json")]
    assert client.options == [(True, 60.0)]
    assert client.url == "http://127.0.0.1:8080"


def test_argument_that_is_not_utf_8_is_published_byte_for_byte(install: Install) -> None:
    client = FakeClient()
    install(client)
    assert run(["a", os.fsdecode(b"\xff\xfe")]) == 0
    assert client.published == [("a", b"\xff\xfe", "application/octet-stream")]


@pytest.mark.parametrize(
    ("words", "content_type"),
    [
        (["--json"], "application/json"),
        (["--text"], "text/plain"),
        (["--content-type", "text/csv"], "text/csv"),
        (["--content-type=image/png"], "image/png"),
    ],
)
def test_options_say_what_the_payload_is(install: Install, words: list[str], content_type: str) -> None:
    client = FakeClient()
    install(client)
    assert run(["a", "1", *words]) == 0
    assert client.published == [("a", b"1", content_type)]


@pytest.mark.parametrize("words", [["a"], ["a", "-"]])
def test_standard_input_is_published_line_by_line(
    install: Install, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    client = FakeClient()
    install(client)
    reading, writing = os.pipe()
    os.write(writing, b"1\n2\n3")
    os.close(writing)
    with os.fdopen(reading, "rb", 0) as source:
        monkeypatch.setattr(sys, "stdin", source)
        assert run(words) == 0
    assert [payload for _, payload, _ in client.published] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokerClosed("no broker at http://127.0.0.1:8080"), "no broker at http://127.0.0.1:8080"),
        (InvalidPayload("payload is not JSON"), "payload is not JSON"),
        (TimeoutError("no answer within 10 s"), "no answer within 10 s"),
    ],
)
def test_refusal_is_told_and_makes_the_status_1(
    install: Install, capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    client = FakeClient()
    client.errors[b"x"] = error
    install(client)
    assert run(["a", "x"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"extra-broker: {message}\n")


def test_line_that_is_refused_makes_the_status_1(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    client.errors[b"1"] = InvalidPayload("no")
    install(client)
    reading, writing = os.pipe()
    os.write(writing, b"1\n2\n")
    os.close(writing)
    with os.fdopen(reading, "rb", 0) as source:
        monkeypatch.setattr(sys, "stdin", source)
        assert run(["a"]) == 1
    assert len(client.published) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"pub takes TOPIC \[DATA\|-\], not 0 arguments"),
        (["a", "b", "c"], r"pub takes TOPIC \[DATA\|-\], not 3 arguments"),
        (["a/+", "x"], "topic 'a/\\+' holds the wildcard '\\+'"),
        (["", "x"], "topic '' is empty"),
        (["a", "-5"], "no option -5: put -- before"),
        (
            ["a", "x", "--ttl", "soon"],
            "--ttl: 'soon' is not allowed: a number of seconds from 0.001 to 1e",
        ),
        (["a", "x", "--ttl", "0"], "--ttl: '0' is not allowed"),
        (["a", "x", "--ttl", "1e10"], "--ttl: '1e10' is not allowed"),
        (["a", "x", "--ttl", "nan"], "--ttl: 'nan' is not allowed"),
        (["a", "x", "--ttl", "inf"], "--ttl: 'inf' is not allowed"),
        (["a", "x", "--json", "--text"], "--json and --text exclude each other"),
        (["a", "x", "--url", "broker"], "--url: url 'broker' is not http"),
    ],
)
def test_wrong_call_is_refused_before_anything_is_published(
    install: Install, words: list[str], message: str
) -> None:
    client = FakeClient()
    install(client)
    with pytest.raises(UsageError, match=f"^{message}"):
        run(words)
    assert client.published == []


def test_help_shows_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    assert all(option.flag in shown for option in pub.OPTIONS)
    assert '{"celsius": 21}' in shown
    assert max(map(len, shown.splitlines())) <= 100
