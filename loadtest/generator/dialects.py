"""The dialects: ours, and those of the servers that the broker is compared with."""

import json
from typing import Final
from urllib.parse import quote

from loadtest.generator.dialect import BINARY, Dialect, Opening, Step, masked_frame, websocket

__all__ = ["DIALECTS"]

END_OF_HEAD: Final = b"\r\n\r\n"


class Raw(Dialect):
    """WebSockets whose data frames are payloads: our own servers, and nchan."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        return [websocket("/" if filters == ["bench"] else f"/to/{filters[0]}")]

    def publishing(self) -> Opening:
        return [websocket("/publish")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(payload)


class Addressed(Raw):
    """The floor with names: see its module."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        return [websocket("/" if any("#" in each for each in filters) else f"/to/{filters[0]}")]

    def publishing(self) -> Opening:
        return [websocket("/publish/to")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(topic.encode() + b" " + payload)


class Extra(Dialect):
    """extra-broker over WebSocket, `extra.v1.json`."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        if len(filters) == 1:
            # what is replayed comes before `subscribed`, and is checked like the rest
            opened = b'"op":"welcome"' if "since=" in query else b'"op":"subscribed"'
            return [websocket(f"/t/{in_url(filters[0])}?{query}", opened, b"}")]
        command = json.dumps({"op": "subscribe", "filter": filters}).encode()
        return [self.publishing()[0], Step(masked_frame(command), (b'"op":"subscribed"', b"}"))]

    def publishing(self) -> Opening:
        return [websocket("/ws", b'"op":"welcome"', b"}")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(b'{"op":"publish","topic":"%b","data":%b}' % (topic.encode(), payload))


class ExtraEvents(Extra):
    """extra-broker over Server-Sent Events; published is over WebSocket."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        topics = "&".join("topic=" + quote(each, safe="") for each in filters)
        path = f"/sse?{topics}&{query}"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        return [Step(head.encode(), (END_OF_HEAD, b"\nid: ", b"\n\n"))]


class MQTT(Dialect):
    """MQTT 3.1.1 over WebSocket, at most once: each packet in a binary frame of its own."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        wanted = b"".join([mqtt_text(each) + b"\x00" for each in filters])
        subscribe = mqtt_packet(0x82, b"\x00\x01" + wanted)
        return [
            *self.publishing(),
            Step(masked_frame(subscribe, BINARY), (b"\x00\x01" + bytes(len(filters)),)),
        ]

    def publishing(self) -> Opening:
        connect = mqtt_packet(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x00" + mqtt_text(""))
        return [
            websocket("/mqtt", subprotocol="mqtt"),
            Step(masked_frame(connect, BINARY), (b"\x20\x02\x00\x00",)),
        ]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(mqtt_packet(0x30, mqtt_text(topic) + payload), BINARY)


class NATS(Dialect):
    """NATS over WebSocket; a frame holds what a write brought together."""

    framing = "frames"
    ping = b"PING\r\n"

    def __init__(self) -> None:
        self.pong = masked_frame(b"PONG\r\n", BINARY)

    def subscribing(self, filters: list[str], query: str) -> Opening:
        wanted = "".join(f"SUB {each.replace('/', '.')} 1\r\n" for each in filters)
        return [*self.publishing(), Step(masked_frame(f"{wanted}PING\r\n".encode(), BINARY), (b"PONG\r\n",))]

    def publishing(self) -> Opening:
        connect = b'CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\nPING\r\n'
        return [websocket("/"), Step(masked_frame(connect, BINARY), (b"PONG\r\n",))]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(
            b"PUB %b %d\r\n%b\r\n" % (topic.replace("/", ".").encode(), len(payload), payload), BINARY
        )


def in_url(topic_filter: str) -> str:
    """Return a filter as it stands in a URL, where `#` cannot."""
    return quote(topic_filter.replace("+", "*").replace("#", "**"), safe="/*")


def mqtt_text(text: str) -> bytes:
    """Return a UTF-8 string of MQTT (section 1.5.3)."""
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def mqtt_packet(kind: int, body: bytes) -> bytes:
    """Return a control packet of MQTT (sections 2.2.1 to 2.2.3)."""
    size, length = len(body), b""
    while size > 127:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((kind,)) + length + bytes((size,)) + body


DIALECTS: Final[dict[str, Dialect]] = {
    "raw": Raw(),
    "addressed": Addressed(),
    "extra": Extra(),
    "extra-sse": ExtraEvents(),
    "mqtt": MQTT(),
    "nats": NATS(),
}
