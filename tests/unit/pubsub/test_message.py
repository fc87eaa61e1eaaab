from typing import Any

import pytest

from extra.errors import InvalidCommand, InvalidPayload, LimitExceeded
from extra.pubsub import FORMS_LIMIT, FrameCache, Gap, Message, Receipt, WireForm, compose
from tests.unit.pubsub.material import NameForm, a_message, placed


class CountingForm(WireForm):
    """A frame of so many bytes; remembers what it was asked to encode."""

    def __init__(self, cache: FrameCache, size: int = 10, index: int = 0) -> None:
        super().__init__(index, cache)
        self.size = size
        self.encoded: list[int] = []

    def encode(self, message: Message) -> bytes:
        self.encoded.append(message.offset)
        return b"." * self.size

    def encode_gap(self, gap: Gap) -> bytes:
        return b""


# Message


def test_before_it_is_placed_a_message_has_no_offset() -> None:
    message = a_message("a/b", b"x")
    assert (message.offset, message.epoch, message.time, message.appended_at) == (0, "", 0.0, 0.0)


def test_placing_gives_it_its_place_and_cursor() -> None:
    message = a_message()
    message.place("e1", 17, 5.0, 1_900_000_000.0)
    assert (message.offset, message.epoch, message.appended_at, message.time) == (
        17,
        "e1",
        5.0,
        1_900_000_000.0,
    )
    assert message.cursor == "e1-17"


def test_a_message_has_one_place() -> None:
    message = placed(1)
    with pytest.raises(AssertionError, match="one place"):
        message.place("e1", 2, 0.0, 0.0)


def test_size_grows_with_everything_that_a_publisher_gives() -> None:
    """STYLE: everything that can grow is bounded in bytes; what is not counted is not bounded."""
    bare = Message("a", b"").size
    assert Message("a/bc", b"").size == bare + 3
    assert Message("a", b"12345").size == bare + 5
    assert Message("a", b"", content_type="text/plain").size == bare + 10
    one = Message("a", b"", headers={"ab": "cde"}).size
    assert one > bare + 5
    assert Message("a", b"", headers={"ab": "cde", "fg": "hij"}).size == bare + 2 * (one - bare)


@pytest.mark.parametrize(
    ("kind", "payload", "data"),
    [
        ("json", b'{"celsius":21}', {"celsius": 21}),
        ("text", "21 °C".encode(), "21 °C"),
        ("binary", b"\xff", b"\xff"),
    ],
)
def test_data_is_the_payload_decoded(kind: Any, payload: bytes, data: object) -> None:
    assert a_message("a", payload, kind).data == data


def test_a_message_expires_at_its_time_and_not_before() -> None:
    message = a_message(expires_at=100.0)
    assert not message.is_expired(99.9)
    assert message.is_expired(100.0)


def test_without_a_time_to_live_a_message_never_expires() -> None:
    assert not a_message().is_expired(1e18)


def test_repr_shows_no_payload() -> None:
    """STYLE section 5: never a payload."""
    assert repr(placed(3, "a/b", b"secret")) == "<Message 'a/b' offset=3 binary of 6 bytes>"


# Frames


def test_a_frame_is_made_once_and_shared() -> None:
    """DESIGN section 5: encode once."""
    form = CountingForm(FrameCache(1000))
    message = placed(1)
    assert message.frame(form) is message.frame(form)
    assert form.encoded == [1]


def test_each_form_has_its_own_frame() -> None:
    cache = FrameCache(1000)
    one, other = NameForm(0, cache), CountingForm(cache, index=FORMS_LIMIT - 1)
    message = placed(1)
    assert message.frame(one) == b"<a 1>"
    assert message.frame(other) == b"." * 10
    assert message.frame(one) == b"<a 1>"
    assert cache.encoded == 2


def test_there_are_only_so_many_forms() -> None:
    with pytest.raises(AssertionError):
        NameForm(FORMS_LIMIT)


def test_past_the_limit_the_first_message_loses_its_frames() -> None:
    cache = FrameCache(1000)
    form = CountingForm(cache, 300)
    messages = [placed(offset) for offset in (1, 2, 3)]
    for message in messages:
        message.frame(form)
    assert cache.bytes <= 1000
    messages[1].frame(form)
    messages[2].frame(form)
    assert form.encoded == [1, 2, 3]
    messages[0].frame(form)
    assert form.encoded == [1, 2, 3, 1]


def test_all_frames_of_a_message_go_together() -> None:
    cache = FrameCache(1000)
    forms = [CountingForm(cache, 300, index) for index in range(2)]
    first, second = placed(1), placed(2)
    for form in forms:
        first.frame(form)
    second.frame(forms[0])
    for form in forms:
        first.frame(form)
        assert form.encoded.count(1) == 2


def test_a_message_with_frames_costs_more_than_their_bytes() -> None:
    """The smallest frames are bounded, too."""
    cache = FrameCache(10_000)
    form = CountingForm(cache, 1)
    messages = [placed(offset) for offset in range(1, 1001)]
    for message in messages:
        message.frame(form)
    assert len(cache.messages) <= 100
    assert cache.bytes <= 10_000


def test_a_frame_larger_than_the_cache_is_given_and_not_kept() -> None:
    cache = FrameCache(100)
    form = CountingForm(cache, 500)
    message = placed(1)
    assert len(message.frame(form)) == 500
    assert (cache.bytes, len(cache.messages)) == (0, 0)
    assert len(message.frame(form)) == 500
    assert form.encoded == [1, 1]


# compose


@pytest.mark.parametrize(
    ("data", "kind", "payload"),
    [
        (b"\xff\x00", "binary", b"\xff\x00"),
        ("grüße", "text", "grüße".encode()),
        ("", "text", b""),
        ({"celsius": 21, "ort": "Küche"}, "json", '{"celsius":21,"ort":"Küche"}'.encode()),
        ([1, 2.5, None, True], "json", b"[1,2.5,null,true]"),
        (None, "json", b"null"),
        (7, "json", b"7"),
    ],
)
def test_the_kind_follows_from_the_value(data: object, kind: str, payload: bytes) -> None:
    message = compose("a", data)
    assert (message.kind, message.payload, message.content_type) == (kind, payload, None)


@pytest.mark.parametrize(
    ("data", "content_type", "kind", "payload"),
    [
        (b'{"a": 1}', "application/json", "json", b'{"a": 1}'),
        (b"abc", "text/plain; charset=utf-8", "text", b"abc"),
        (b"\xff", "text/plain; charset=latin-1", "binary", b"\xff"),
        (b"\xff", "image/png", "binary", b"\xff"),
        ("abc", "text/markdown", "text", b"abc"),
        ("abc", "application/json", "json", b'"abc"'),
        ("abc", "application/xml", "binary", b"abc"),
        ({"a": 1}, "application/geo+json", "json", b'{"a":1}'),
    ],
)
def test_a_content_type_decides_the_kind(data: object, content_type: str, kind: str, payload: bytes) -> None:
    """docs/protocol.md, the envelope."""
    message = compose("a", data, content_type=content_type)
    assert (message.kind, message.payload, message.content_type) == (kind, payload, content_type)


def test_what_a_publisher_says_of_a_message_stays_with_it() -> None:
    message = compose("a/b", 1, retain=True, expires_at=9.0, headers={"trace": "t1"})
    assert message.topic == "a/b"
    assert message.retained
    assert message.expires_at == 9.0
    assert message.headers == {"trace": "t1"}


@pytest.mark.parametrize(
    "data",
    [
        object(),
        {1, 2},
        float("nan"),
        float("inf"),
        {"a": {"b": object()}},
        "\ud800",
        {"a": "\ud800"},
        {(1, 2): 3},
    ],
)
def test_a_value_that_cannot_be_written_is_refused(data: object) -> None:
    """docs/protocol.md, errors: `invalid_payload`."""
    with pytest.raises(InvalidPayload, match="cannot be written"):
        compose("a", data)


def test_a_value_nested_too_deep_is_refused() -> None:
    data: list[Any] = []
    for _ in range(100_000):
        data = [data]
    with pytest.raises(InvalidPayload):
        compose("a", data)


@pytest.mark.parametrize(
    ("payload", "content_type", "complaint"),
    [
        (b"{", "application/json", "payload is not JSON"),
        (b"", "application/json", "payload is not JSON"),
        (b"NaN", "application/json", "NaN is not JSON"),
        (b'{"a":-Infinity}', "application/json", "-Infinity is not JSON"),
        (b"[" * 100_000, "application/json", "payload is not JSON"),
        (b'"\xff"', "application/json", "json payload is not UTF-8: invalid start byte at byte 1"),
        (b"ab\xff", "text/plain", "text payload is not UTF-8: invalid start byte at byte 2"),
    ],
)
def test_bytes_have_to_be_what_their_content_type_says(
    payload: bytes, content_type: str, complaint: str
) -> None:
    """docs/protocol.md, errors: `invalid_payload`."""
    with pytest.raises(InvalidPayload, match=complaint):
        compose("a", payload, content_type=content_type)


def test_a_value_that_is_no_text_cannot_have_the_content_type_of_one() -> None:
    """As in a command: `data` has to be a string where `content_type` is not JSON."""
    with pytest.raises(InvalidPayload, match="bytes or a string where content_type is 'text/plain'"):
        compose("a", {"a": 1}, content_type="text/plain")


# What is told


def test_a_gap_concerns_everything_unless_it_says_otherwise() -> None:
    gap = Gap(3, 12, "evicted")
    assert (gap.after, gap.until, gap.reason, gap.dropped, gap.filter) == (3, 12, "evicted", 0, None)


def test_gaps_and_receipts_are_compared_by_what_they_say() -> None:
    assert Gap(3, 12, "evicted") == Gap(3, 12, "evicted")
    assert Gap(3, 12, "evicted") != Gap(3, 12, "overflow", 2)
    assert Receipt("a", 1, "e1-1", 3) == Receipt("a", 1, "e1-1", 3)


def test_composed_message_has_a_content_type_and_headers_that_every_face_can_carry() -> None:
    with pytest.raises(InvalidCommand, match="content_type: not printable ASCII"):
        compose("a", "x", content_type="text/plain\r\n")
    with pytest.raises(LimitExceeded, match="headers: 65 of them, at most 64"):
        compose("a", "x", headers={str(number): "" for number in range(65)})
