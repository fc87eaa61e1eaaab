"""The wire forms: what each face makes of a message and of a gap, once for all."""

import json
import zlib

import msgpack

from broker.endpoints.forms import Forms
from extra.payloads import PayloadKind
from extra.pubsub import Gap, Message
from tests.unit.broker.endpoints.driving import frames, pushes

GAP = Gap(3, 7, "overflow", 2, "a/#")


def message(payload: bytes = b'{"n":1}', kind: PayloadKind = "json", topic: str = "a/b") -> Message:
    made = Message(topic, payload, kind, headers={"x": "y"}, expires_at=60.0, retained=True)
    made.place("e1", 7, 0.0, 0.0)
    return made


ENVELOPE = {
    "op": "message",
    "topic": "a/b",
    "offset": 7,
    "data": {"n": 1},
    "headers": {"x": "y"},
    "expires_at": 60.0,
    "retained": True,
}
GAP_PUSH = {"op": "gap", "filter": "a/#", "after": 3, "until": 7, "reason": "overflow", "dropped": 2}


def test_envelopes_hold_every_property() -> None:
    forms = Forms()
    assert json.loads(message().frame(forms.envelope)) == ENVELOPE
    assert msgpack.unpackb(message().frame(forms.msgpack_envelope)) == ENVELOPE


def test_websockets_get_the_envelope_in_one_frame() -> None:
    """JSON in text frames, msgpack in binary frames."""
    forms = Forms()
    for form, opcode in ((forms.text_frame, 1), (forms.binary_frame, 2)):
        frame = message().frame(form)
        assert pushes(frame) == [ENVELOPE]
        assert [found for found, _ in frames(frame)] == [opcode]


def test_deflated_frames_hold_the_same_where_that_is_shorter() -> None:
    """RFC 7692 7.2.1."""
    forms = Forms()
    for form, plain in (
        (forms.deflated_text_frame, forms.text_frame),
        (forms.deflated_binary_frame, forms.binary_frame),
    ):
        long = message(b'"' + b"x" * 500 + b'"')
        assert len(long.frame(form)) < 200 < len(long.frame(plain))
        assert long.frame(form)[0] == long.frame(plain)[0] | 0x40
        inflated = zlib.decompressobj(-12).decompress(frames(long.frame(form))[0][1] + b"\x00\x00\xff\xff")
        assert inflated == frames(long.frame(plain))[0][1]


def test_events_have_the_cursor_as_id_and_no_name() -> None:
    event = message().frame(Forms().event)
    first, second, *rest = event.decode().split("\n")
    assert first == "id: e1-7"
    assert json.loads(second.removeprefix("data: ")) == ENVELOPE
    assert rest == ["", ""]


def test_raw_events_have_the_payload_alone() -> None:
    forms = Forms()
    assert message(b'{"a":\n1}').frame(forms.raw_event) == b'id: e1-7\ndata: {"a":\ndata: 1}\n\n'
    assert (
        message("é\r\n".encode(), "text").frame(forms.raw_event) == "id: e1-7\ndata: é\ndata: \n\n".encode()
    )
    assert message(b"\xff\x00", "binary").frame(forms.raw_event) == b"id: e1-7\ndata: /wA=\n\n"


def test_every_form_tells_of_a_gap() -> None:
    forms = Forms()
    assert json.loads(forms.envelope.encode_gap(GAP)) == GAP_PUSH
    assert msgpack.unpackb(forms.msgpack_envelope.encode_gap(GAP)) == GAP_PUSH
    assert pushes(forms.text_frame.encode_gap(GAP)) == [GAP_PUSH]
    assert pushes(forms.binary_frame.encode_gap(GAP)) == [GAP_PUSH]
    for form in (forms.event, forms.raw_event):
        name, data, *_ = form.encode_gap(GAP).decode().split("\n")
        assert name == "event: gap"
        assert json.loads(data.removeprefix("data: ")) == GAP_PUSH


def test_a_gap_leaves_out_what_it_does_not_know() -> None:
    pushed = json.loads(Forms().envelope.encode_gap(Gap(None, 0, "epoch")))
    assert pushed == {"op": "gap", "after": None, "until": 0, "reason": "epoch"}


def test_a_frame_is_made_once_and_shared() -> None:
    forms = Forms()
    made = message()
    assert made.frame(forms.text_frame) is made.frame(forms.text_frame)
    assert forms.cache.encoded == 1


def test_frames_are_let_go_when_they_are_too_many() -> None:
    forms = Forms(cache_limit_bytes=500)
    made = [message() for _ in range(10)]
    for each in made:
        each.frame(forms.event)
    assert forms.cache.bytes <= 500
    assert made[0].frame(forms.event) == made[9].frame(forms.event)
    assert forms.cache.encoded > 10
