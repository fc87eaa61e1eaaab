"""docs/protocol.md says every bound that a client can meet and that is no setting."""

from pathlib import Path

from broker.endpoints.forms import FRAME_CACHE_LIMIT_BYTES
from broker.endpoints.groups import SETTLING_LIMIT_BYTES
from broker.endpoints.parameters import DELIVER_AFTER_MOST_S
from broker.endpoints.publishing import BATCH_FACTOR, TTL_MOST_S
from broker.endpoints.read import LIMIT_MOST, PAGE_LIMIT_BYTES
from extra.payloads import MAX_CONTENT_TYPE_BYTES, MAX_HEADERS, MAX_HEADERS_BYTES
from extra.protocols.commands import (
    MAX_ID_BYTES,
    MAX_KEY_BYTES,
)
from extra.protocols.payloads import JSON_DEPTH_LIMIT, JSON_DIGITS_LIMIT
from extra.pubsub.history import RETAINED_LIMIT
from extra.pubsub.idempotency import KEY_LIMIT_BYTES
from extra.pubsub.schedule import DELIVER_AT_MOST
from extra.servers.connection import BODY_RATE_BYTES_PER_S, LINGER_TIMEOUT_S, RECEIVED_HIGH_WATER_BYTES
from extra.servers.websocket import BYTES_PER_TURN, FRAMES_PER_TURN, MESSAGE_RATE_BYTES_PER_S

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"

BOUNDS = {
    "`id` of a command": f"{MAX_ID_BYTES} bytes",
    "idempotency key": f"{KEY_LIMIT_BYTES} bytes",
    "`content_type` of a message": f"{MAX_CONTENT_TYPE_BYTES} bytes",
    "`headers` of a message": f"{MAX_HEADERS}",
    "`headers` of a message, names and values together": f"{MAX_HEADERS_BYTES:,} bytes",
    "levels of a JSON payload": f"{JSON_DEPTH_LIMIT}",
    "digits of a number in a JSON payload": f"{JSON_DIGITS_LIMIT:,}",
    "`ttl`": f"{TTL_MOST_S:,.0f} s",
    "`Extra-Deliver-After`": f"{DELIVER_AFTER_MOST_S:,.0f} s",
    "`deliver_at`": f"{DELIVER_AT_MOST:,.0f} s",
    "body of `POST /publish`, in `broker.max_payload_bytes`": f"{BATCH_FACTOR}",
    "`data` in msgpack, in `broker.max_payload_bytes`": f"{9 / 4}",
    "messages of a page": f"{LIMIT_MOST:,}",
    "body of `POST /groups/{group}/ack`": f"{SETTLING_LIMIT_BYTES:,} bytes",
    "page": f"{PAGE_LIMIT_BYTES:,} bytes",
    "retained messages of a page": f"{RETAINED_LIMIT:,}",
    "encoded messages that are kept for those to come": f"{FRAME_CACHE_LIMIT_BYTES:,} bytes",
    "received of one connection before its peer has to wait": f"{RECEIVED_HIGH_WATER_BYTES:,} bytes",
    "body or message that gives its deadline a second more": f"{BODY_RATE_BYTES_PER_S:,} bytes",
    "messages of one WebSocket that are handed over in one turn": f"{FRAMES_PER_TURN:,}",
    "bytes of them": f"{BYTES_PER_TURN:,} bytes",
    "a closed connection whose peer still sends": f"{LINGER_TIMEOUT_S:g} s",
}


def test_bounds_that_are_no_settings_are_documented() -> None:
    section = PROTOCOL.read_text(encoding="utf-8").partition("\nWhat is no setting:\n")[2]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    assert dict(rows) == BOUNDS


def test_faces_agree_on_bounds() -> None:
    assert MAX_KEY_BYTES == KEY_LIMIT_BYTES
    assert MESSAGE_RATE_BYTES_PER_S == BODY_RATE_BYTES_PER_S
