"""Records as they stand in an export."""

import io
import json

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.commands.exchange import (
    FORMATS,
    VERSION,
    BadRecord,
    Format,
    encode_message,
    encode_record,
    read_records,
)
from extra.payloads import PayloadKind
from extra.pubsub import Message

HEAD = encode_record(
    {"op": "store", "version": VERSION, "epoch": "e1", "head": 9, "forgotten_until": 2}, "jsonl"
)
PACKED_HEAD = encode_record({"op": "store", "version": VERSION}, "msgpack")
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)


def read(data: bytes) -> list[object]:
    """Return the records of a file, or what is wrong with it behind those before."""
    found: list[object] = []
    try:
        for _, record in read_records(io.BytesIO(data)):
            found.append(record)
    except BadRecord as error:
        found.append(str(error))
    return found


@given(
    payload=st.one_of(
        st.tuples(
            st.just("json"), st.sampled_from([b"{}", b'{"a":\n1}', b"[1,\r2]", b"1e400", '"ü"'.encode()])
        ),
        st.tuples(st.just("text"), TEXT.map(str.encode)),
        st.tuples(st.just("binary"), st.binary(max_size=20)),
    ),
    topic=TEXT.filter(lambda text: not set(text) & set("\0+#")),
    content_type=st.none() | st.just("text/x"),
    headers=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    expires_at=st.just(0.0) | st.floats(1, 1e10),
    retained=st.booleans(),
    form=st.sampled_from(FORMATS),
)
@example(
    payload=("text", "\u2028\n".encode()),
    topic="a\nb",
    content_type=None,
    headers={"\n": "\r"},
    expires_at=0.0,
    retained=True,
    form="jsonl",
)
def test_a_message_comes_back_as_it_was(
    payload: tuple[PayloadKind, bytes],
    topic: str,
    content_type: str | None,
    headers: dict[str, str] | None,
    expires_at: float,
    retained: bool,
    form: Format,
) -> None:
    kind, data = payload
    message = Message(
        topic,
        data,
        kind,
        content_type=content_type,
        headers=headers,
        expires_at=expires_at,
        retained=retained,
    )
    head = encode_record({"op": "store", "version": VERSION}, form)
    encoded = encode_message("message", message, 7, 1.5, form)
    if form == "jsonl":
        assert encoded.count(b"\n") == 1
    records = [record for _, record in read_records(io.BytesIO(head + encoded * 2))]
    assert len(records) == 3
    for record in records[1:]:
        assert (record.op, record.offset, record.time, record.retained) == ("message", 7, 1.5, retained)
        again = record.message()
        for name in ("topic", "payload", "kind", "content_type", "headers", "expires_at", "retained"):
            assert getattr(again, name) == getattr(message, name)


def test_json_is_readable_where_it_can_be() -> None:
    line = encode_message("retained", Message("a", b'{"n": 1}', "json"), 7, 1.5, "jsonl")
    assert line == b'{"op":"retained","topic":"a","offset":7,"time":1.5,"kind":"json","data":{"n": 1}}\n'
    line = encode_message("message", Message("a", b"\x00", "binary"), 7, 1.5, "jsonl")
    assert json.loads(line)["data_base64"] == "AA=="


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "there is nothing in it"),
        (b"\n \n", "there is nothing in it"),
        (b'{"op":"message"}\n', "this is no export"),
        (b'{"op":"store"}\n', "this is no export"),
        (b'{"op":"store","version":2}\n', "version 2, and 1 is the newest"),
        (HEAD + b"{\n", "record 2: "),
        (HEAD + b"17\n", "record 2: "),
        (HEAD + b'{"op":"poem"}\n', "record 2: "),
        (HEAD + b'{"op":"topic","evicted_until":"x"}\n', "record 2: "),
        (HEAD + b'{"op":"topic","topic":"\xff"}\n', "record 2: "),
        (HEAD + b"[" * 100_000 + b"\n", "record 2: "),
        (b"hello", "record 1: "),
        (PACKED_HEAD + b"\x01", "record 2: "),
        (PACKED_HEAD + b"\xc1", "record 2: "),
        (PACKED_HEAD + b"\x81\xa2op", "record 2: the file ends within it"),
        (PACKED_HEAD + msgpack.packb({"op": "topic", "topic": 1}), "record 2: "),
    ],
)
def test_what_is_no_export_is_told_with_where_it_begins(data: bytes, said: str) -> None:
    assert said in str(read(data)[-1])


def test_empty_lines_are_passed_over() -> None:
    assert len(read(b"\n" + HEAD + b"\r\n\n" + b'{"op":"topic","topic":"a","evicted_until":1}')) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ('"topic":"a","kind":"json","data":1', ""),
        ('"topic":"a","kind":"text","data":"x"', ""),
        ('"topic":"a","kind":"json","data":null', ""),
        ('"topic":"a","kind":"json","data_base64":"MQ=="', ""),
        ('"topic":"a/+","kind":"json","data":1', "wildcard"),
        ('"kind":"json","data":1', "empty"),
        ('"topic":"a","data":1', "it has no kind"),
        ('"topic":"a","kind":"json"', "it has no data"),
        ('"topic":"a","kind":"text","data":1', "is not a string"),
        ('"topic":"a","kind":"binary","data_base64":"*"', "data_base64"),
        ('"topic":"a","kind":"binary","data_base64":"é"', "data_base64"),
        ('"topic":"a","kind":"json","data_base64":"AA=="', "JSON"),
        ('"topic":"a","kind":"text","data_base64":"/w=="', "UTF-8"),
    ],
)
def test_a_record_that_is_no_message_says_why(fields: str, said: str) -> None:
    [_, (_, record)] = read_records(io.BytesIO(HEAD + f'{{"op":"message",{fields}}}'.encode()))
    if said:
        with pytest.raises(ValueError, match=said):
            record.message()
    else:
        assert record.message().topic == "a"
