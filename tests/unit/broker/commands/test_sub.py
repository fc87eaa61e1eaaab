"""`extra-broker sub`: what is printed of a message, and what the exit status says."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType, TracebackType

import pytest

from broker.commands import sub
from broker.commands.options import UsageError
from broker.commands.sub import line_of, print_messages, run
from extra.errors import BrokerClosed
from extra.pubsub import Gap, Message


def message(
    topic: str = "a",
    payload: bytes = b"1",
    kind: str = "json",
    *,
    offset: int = 1,
    headers: dict[str, str] | None = None,
    retained: bool = False,
) -> Message:
    assert kind in ("json", "text", "binary")
    made = Message(topic, payload, kind, headers=headers, retained=retained)  # type: ignore[arg-type]  # it is one
    made.place("e", offset, 0.0, 0.0)
    return made


class FakeClient:
    """Gives the entries that it was made with: messages, gaps, and an error as the end."""

    def __init__(self, *entries: Message | Gap | Exception) -> None:
        self.entries = entries
        self.asked: dict[str, object] = {}
        self.given = 0

    def subscribe(
        self, *filters: str, since: str, overflow: str, on_gap: Callable[[Gap], None]
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        self.asked = {"filters": filters, "since": since, "overflow": overflow}
        return self._messages(on_gap)

    @asynccontextmanager
    async def _messages(self, on_gap: Callable[[Gap], None]) -> AsyncIterator[AsyncIterator[Message]]:
        async def iterate() -> AsyncIterator[Message]:
            for entry in self.entries:
                if isinstance(entry, Exception):
                    raise entry
                if isinstance(entry, Gap):
                    on_gap(entry)
                else:
                    self.given += 1
                    yield entry

        yield iterate()

    async def __aenter__(self) -> "FakeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


Install = Callable[[FakeClient], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes the command find a client that is given."""

    def install_client(client: FakeClient) -> None:
        module = ModuleType("extra.client")
        vars(module)["Client"] = lambda url: client
        monkeypatch.setitem(sys.modules, "extra.client", module)

    return install_client


def test_json_is_the_envelope_on_a_line() -> None:
    line = line_of(message("site/a", b'{"celsius":\n21}', headers={"x": "y"}, retained=True), "json")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "op": "message",
        "topic": "site/a",
        "offset": 1,
        "data": {"celsius": 21},
        "headers": {"x": "y"},
        "retained": True,
    }


@pytest.mark.parametrize(
    ("payload", "kind", "line"),
    [
        (b'{"a":\r\n12345678901234567890.0}', "json", b'{"a":  12345678901234567890.0}\n'),
        (b"one\ntwo \xc3\xa9", "text", b'"one\\ntwo \xc3\xa9"\n'),
        (b"\xff\0", "binary", b'"/wA="\n'),
        (b"", "text", b'""\n'),
    ],
)
def test_data_is_the_payload_in_json_on_a_line(payload: bytes, kind: str, line: bytes) -> None:
    assert line_of(message(payload=payload, kind=kind), "data") == line


@pytest.mark.parametrize(
    ("payload", "kind"), [(b'{"a":\n1}', "json"), (b"one\ntwo", "text"), (b"\xff\0\x1b", "binary")]
)
def test_raw_is_the_payload_as_it_is(payload: bytes, kind: str) -> None:
    assert line_of(message(payload=payload, kind=kind), "raw") == payload + b"\n"


async def test_messages_are_printed_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    client = FakeClient(message(payload=b"1"), message(payload=b"2", offset=2))
    assert await print_messages(client, ["a", "b/#"], since="start", overflow="latest", form="raw")
    assert capfd.readouterr().out == "1\n2\n"
    assert client.asked == {"filters": ("a", "b/#"), "since": "start", "overflow": "latest"}


async def test_each_line_is_out_before_the_next_message_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient(message(), message(offset=2))
    taken_at_write: list[int] = []

    async def write(_: bytes) -> None:
        taken_at_write.append(client.given)

    monkeypatch.setattr(sub, "write_line", write)
    await print_messages(client, ["a"])
    assert taken_at_write == [1, 2]


async def test_count_ends_it_without_waiting_for_another_message(capfd: pytest.CaptureFixture[str]) -> None:
    client = FakeClient(message(), message(offset=2), AssertionError("one more was asked for"))
    assert await print_messages(client, ["a"], form="raw", count=2)
    assert capfd.readouterr().out == "1\n1\n"


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (Gap(3, 12, "evicted"), "messages after offset 3 and up to 12 are missing (evicted)"),
        (
            Gap(3, 12, "evicted", filter="site/#"),
            "messages of site/# after offset 3 and up to 12 are missing (evicted)",
        ),
        (Gap(None, 0, "epoch"), "messages may be missing: the broker's log has begun anew (epoch)"),
        (
            Gap(3, 12, "overflow", dropped=9),
            "9 messages were dropped: this reader does not keep up (overflow)",
        ),
    ],
)
def test_gap_is_told_on_standard_error_and_fails_if_strict(
    install: Install, capfd: pytest.CaptureFixture[str], gap: Gap, told: str
) -> None:
    install(FakeClient(gap, message()))
    assert run(["a", "--format", "raw"]) == 0
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("1\n", f"extra-broker: gap: {told}\n")
    assert run(["a", "--format", "raw", "--strict"]) == 1


def test_nothing_missed_is_a_success_when_strict(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install(FakeClient(message()))
    assert run(["a", "--strict"]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [BrokerClosed("no broker"), ConnectionResetError("no broker")])
def test_broker_that_cannot_be_reached_is_told_and_makes_the_status_1(
    install: Install, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    install(FakeClient(error))
    assert run(["a"]) == 1
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "extra-broker: no broker\n")


def test_count_that_is_reached_is_a_success(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install(FakeClient(message(), message(offset=2)))
    assert run(["a", "--count", "1", "--format", "raw"]) == 0
    assert capfd.readouterr().out == "1\n"


def test_what_is_not_given_has_its_default(install: Install) -> None:
    client = FakeClient()
    install(client)
    assert run(["a"]) == 0
    assert client.asked == {"filters": ("a",), "since": "now", "overflow": "disconnect"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sub takes FILTER..., at least one"),
        (["a", "b/#/c"], "topic filter 'b/#/c' has '#'"),
        (["a", "--since", "yesterday"], "since 'yesterday': a cursor, 'start', 'now' or 'last:N'"),
        (["a", "--format", "xml"], "--format: 'xml' is not allowed: one of json, data, raw"),
        (["a", "--overflow", "x"], "--overflow: 'x' is not allowed: one of disconnect, drop-oldest, latest"),
        (["a", "--count", "0"], "--count: '0' is not allowed: a whole number of messages, 1 or more"),
        (["a", "--count", "²"], "--count: '²' is not allowed: a whole number"),
        (["a", "--count", "9" * 5000], "--count: '999"),
        (["a", "--cuont", "1"], "no option --cuont: did you mean --count?"),
    ],
)
def test_wrong_call_is_refused_before_anything_is_asked(
    install: Install, words: Sequence[str], message: str
) -> None:
    client = FakeClient()
    install(client)
    with pytest.raises(UsageError) as caught:
        run(words)
    assert str(caught.value).startswith(message)
    assert client.asked == {}


def test_help_shows_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    assert all(option.flag in shown for option in sub.OPTIONS)
    assert max(map(len, shown.splitlines())) <= 100
