"""Messages as rows, and what is noticed when a row has changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.engines.records import Row, damage_of, message_of, topic_checksum, values_of
from extra.payloads import PayloadKind
from extra.pubsub import Message

KINDS: list[PayloadKind] = ["json", "text", "binary"]


def a_row(**changes: object) -> Row:
    message = Message(
        "a", b"payload", "text", content_type="text/x", headers={"n": "v"}, expires_at=9.5, retained=True
    )
    row = list(values_of(message, 7, 3, 1.5))
    for name, value in changes.items():
        row[COLUMNS.index(name)] = value  # type: ignore[call-overload]  # whatever a column can come to hold
    return tuple(row)


COLUMNS = (
    "offset",
    "where",
    "time",
    "expires_at",
    "kind",
    "content_type",
    "headers",
    "retained",
    "checksum",
    "payload",
)


@given(
    payload=st.binary(max_size=50),
    kind=st.sampled_from(KINDS),
    content_type=st.none() | st.text(st.characters(codec="utf-8"), max_size=10),
    headers=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    expires_at=st.just(0.0) | st.floats(0, 1e11),
    retained=st.booleans(),
    offset=st.integers(1, 10**18 - 1),
    where=st.integers(1, 1 << 40) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    time=st.floats(0, 1e11),
)
def test_a_message_comes_back_as_it_was(
    payload: bytes,
    kind: PayloadKind,
    content_type: str | None,
    headers: dict[str, str] | None,
    expires_at: float,
    retained: bool,
    offset: int,
    where: int | str,
    time: float,
) -> None:
    message = Message(
        "a",
        payload,
        kind,
        content_type=content_type,
        headers=headers,
        expires_at=expires_at,
        retained=retained,
    )
    row = values_of(message, offset, where, time)
    assert damage_of(row) == ""
    again = message_of(row, "a")
    for name in ("topic", "payload", "kind", "content_type", "headers", "expires_at", "retained", "size"):
        assert getattr(again, name) == getattr(message, name)
    assert again.offset == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offset", 8),
        ("where", 4),
        ("time", 1.25),
        ("expires_at", 0.0),
        ("kind", "json"),
        ("content_type", None),
        ("content_type", "text/y"),
        ("headers", None),
        ("headers", '{"n":"w"}'),
        ("retained", 0),
        ("checksum", 0),
        ("payload", b"paYload"),
        ("payload", b""),
    ],
)
def test_a_change_in_any_column_is_noticed(column: str, value: object) -> None:
    assert damage_of(a_row()) == ""
    assert "offset" in damage_of(a_row(**{column: value}))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offset", 1 << 70),
        ("where", None),
        ("where", 1.5),
        ("time", None),
        ("time", "noon"),
        ("kind", "poem"),
        ("kind", None),
        ("retained", 1000),
        ("payload", None),
        ("payload", "text"),
        ("content_type", b"\xff"),
        ("checksum", None),
    ],
)
def test_a_column_of_any_other_type_is_noticed(column: str, value: object) -> None:
    assert damage_of(a_row(**{column: value})) != ""


def test_properties_are_told_apart() -> None:
    """What moves from one column to the next is not the same message."""
    assert damage_of(a_row(content_type='{"n":"v"}', headers="text/x")) != ""


def test_a_topic_has_a_checksum_over_all_that_is_kept_of_it() -> None:
    checksums = {topic_checksum(*row) for row in ((1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1))}
    assert len(checksums) == 4
