"""Publishing over HTTP: one message as a body, or many in one request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from broker.endpoints.hub import Hub
from broker.endpoints.parameters import (
    deliver_at_of,
    flag_in,
    flag_of,
    if_last_of,
    number_of,
    topic_of,
)
from broker.endpoints.reasons import Unsupported
from extra.errors import ExtraError, InvalidCommand, LimitExceeded, PreconditionFailed
from extra.http import Headers, Request, Response, json_response
from extra.payloads import JSONValue, content_type_flaw, headers_flaw
from extra.protocols.commands import MAX_KEY_BYTES, Publish, Rejected
from extra.protocols.decoding import decode_publishes_json, decode_publishes_lines, decode_publishes_msgpack
from extra.protocols.payloads import admit_payload
from extra.pubsub import Broker, Message, Receipt
from extra.pubsub.gates import guard_publishing

__all__ = ["Publisher", "message_of"]

TTL_MOST_S: Final = 1e9
HEADER_PREFIX: Final = b"extra-header-"
BATCH_FACTOR: Final = 8
"""A batch may take so many times `broker.max_payload_bytes`."""

DECODERS: Final[Mapping[str, Callable[[bytes, int], list[Publish | Rejected]]]] = {
    "application/json": decode_publishes_json,
    "application/x-www-form-urlencoded": decode_publishes_json,  # what `curl -d` says unasked
    "application/x-ndjson": decode_publishes_lines,
    "application/jsonl": decode_publishes_lines,
}

MSGPACK: Final = frozenset(("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"))


class Publisher:
    """`POST`, `PUT` and `DELETE /t/{topic}`, and `POST /publish`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.broker = hub.broker

    def publish(self, request: Request) -> Awaitable[Response]:
        """Publish the body."""
        return self._publish(request, retain=flag_of(request, "retain") or False)

    def publish_at_once(self, request: Request) -> Response | None:
        """Do what `publish` does, if all of the body is there and nothing else has to be waited for."""
        if not request.body_arrived or _key_of(request) is not None or if_last_of(request) is not None:
            return None
        if deliver_at_of(request, self.broker.clock) is not None:
            return None
        if self.broker.gates and guard_publishing(self.broker.gates, topic_of(request)):
            return None
        properties = _properties_of(request)
        payload = request.arrived_body(self.broker.limits.max_payload_bytes, "broker.max_payload_bytes")
        message = self._message(request, properties, payload, flag_of(request, "retain") or False)
        reached = self.broker.publish_at_once(message)
        if reached < 0:
            return None
        return _receipt(Receipt(message.topic, message.offset, message.cursor, reached))

    def retain(self, request: Request) -> Awaitable[Response]:
        """Publish the body and retain it."""
        if flag_of(request, "retain") is False:
            raise InvalidCommand("parameter 'retain' is 0, and PUT retains: POST does not")
        return self._publish(request, retain=True)

    async def clear(self, request: Request) -> Response:
        """Let go of what the topic retains; 204 also when there was nothing."""
        if request.header("if-match") is not None or request.header("if-none-match") is not None:
            raise InvalidCommand("If-Match and If-None-Match are for publishing: DELETE takes neither")
        topic = topic_of(request)
        await self.hub.admit_message(Message(topic, b"", retained=True), request)
        await self.broker.clear(topic)
        return Response(204)

    async def publish_many(self, request: Request) -> Response:
        """Publish each message of the body, in order, and answer with a receipt or an error for each."""
        _refuse_encoding(request)
        media_type = (request.header("content-type") or "application/json").partition(";")[0].strip().lower()
        decode = DECODERS.get(media_type)
        if decode is None and media_type not in MSGPACK:
            known = ", ".join([*DECODERS, *sorted(MSGPACK)])
            raise Unsupported(f"content type {media_type[:80]!r}: one of {known}")
        limits = self.hub.settings.broker
        body = await request.body(
            limits.max_payload_bytes * BATCH_FACTOR, f"{BATCH_FACTOR} x broker.max_payload_bytes"
        )
        most = limits.batch_limit_messages
        if decode is not None:
            items = decode(body, most)
        else:
            items = decode_publishes_msgpack(body, most, limits.max_payload_bytes)
        answers: list[JSONValue] = []
        messages: list[Message] = []
        keys: list[str | None] = []
        if_lasts: list[int | None] = []
        deliver_ats: list[float | None] = []
        places: list[int] = []
        for item in items:
            if isinstance(item, Rejected):
                answers.append(self._refusal(item.code, item.message))
                continue
            message = message_of(item, self.broker)
            if self.broker.gates:
                try:
                    message = await self.hub.admit_message(message, request)
                except ExtraError as error:
                    answers.append(self._refusal(error.code, str(error)))
                    continue
            messages.append(message)
            keys.append(item.key)
            if_lasts.append(item.if_last)
            deliver_ats.append(item.deliver_at)
            places.append(len(answers))
            answers.append(None)
        outcomes = await self.broker.publish_messages(messages, keys, if_lasts, deliver_ats)
        for place, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, PreconditionFailed):
                found: dict[str, JSONValue] = {"offset": outcome.offset, "cursor": outcome.cursor}
                answers[place] = self._refusal(outcome.code, str(outcome), found)
            elif isinstance(outcome, ExtraError):
                answers[place] = self._refusal(outcome.code, str(outcome))
            else:
                answers[place] = _told(outcome)
        failed = [each for each in answers if isinstance(each, dict) and "error" in each]
        return json_response(answers, 207 if failed else 201)

    def _refusal(self, code: str, message: str, more: dict[str, JSONValue] | None = None) -> JSONValue:
        self.hub.tally.count("http", code, message)
        return {"error": {"code": code, "message": message, **(more or {})}}

    async def _publish(self, request: Request, retain: bool) -> Response:
        key, if_last = _key_of(request), if_last_of(request)
        deliver_at = deliver_at_of(request, self.broker.clock)
        if deliver_at is not None and if_last is not None:
            raise InvalidCommand("If-Match is for what is published now: not with Extra-Deliver-At")
        properties = _properties_of(request)
        payload = await request.body(self.broker.limits.max_payload_bytes, "broker.max_payload_bytes")
        message = self._message(request, properties, payload, retain, deliver_at)
        message = await self.hub.admit_message(message, request)
        if deliver_at is not None:
            return _receipt(await self.broker.schedule_message(message, deliver_at, key))
        return _receipt(await self.broker.publish_message(message, key, if_last))

    def _message(
        self,
        request: Request,
        properties: "_Properties",
        payload: bytes,
        retain: bool,
        deliver_at: float | None = None,
    ) -> Message:
        ttl, headers, given_type = properties
        kind, content_type = admit_payload(payload, given_type)
        return Message(
            topic_of(request),
            payload,
            kind,
            content_type=content_type,
            headers=headers,
            expires_at=self.broker.expiry(ttl, deliver_at),
            retained=retain,
            close=_close_of(request),
        )


_Properties: TypeAlias = tuple[float | None, dict[str, str] | None, str | None]
"""Of a message that a request publishes: its time to live, its headers, and its content type as given."""


def _properties_of(request: Request) -> _Properties:
    """Return what the head of a request says of its message: looked at before the body is asked for."""
    _refuse_encoding(request)
    ttl = number_of("ttl", request.query_value("ttl") or request.header("extra-ttl"), 0.001, TTL_MOST_S)
    headers = _headers_of(request)
    content_type = request.header("content-type") or None
    if content_type is not None and (flaw := content_type_flaw(content_type)):
        raise InvalidCommand(flaw)
    return ttl, headers, content_type


def _close_of(request: Request) -> bool | None:
    """Return whether the message is the last of its topic, False when it opens that anew."""
    close = flag_of(request, "close")
    return close if close is not None else flag_in("header 'Extra-Close'", request.header("extra-close"))


def _key_of(request: Request) -> str | None:
    """Return the idempotency key, None without one."""
    key = request.query_value("key")
    if key is None:
        key = request.header("idempotency-key")
    if key is not None and not 0 < len(key.encode()) <= MAX_KEY_BYTES:
        raise InvalidCommand(f"an idempotency key has 1 to {MAX_KEY_BYTES} bytes")
    return key


def message_of(publish: Publish, broker: Broker) -> Message:
    """Return the message that a command publishes."""
    return Message(
        publish.topic,
        publish.payload,
        publish.kind,
        content_type=publish.content_type,
        headers=publish.headers,
        expires_at=broker.expiry(publish.ttl, publish.deliver_at),
        retained=publish.retain,
        close=publish.close,
    )


def _receipt(receipt: Receipt) -> Response:
    headers: Headers = (("Extra-Cursor", receipt.cursor), ("ETag", f'"{receipt.offset}"'))
    if receipt.scheduled:
        headers = (("Location", f"/scheduled/{receipt.scheduled}"),)
    return Response(
        202 if receipt.scheduled else 201,
        msgspec.json.encode(_told(receipt)),
        content_type="application/json",
        headers=headers,
    )


def _told(receipt: Receipt) -> dict[str, JSONValue]:
    if receipt.scheduled:
        return {"topic": receipt.topic, "scheduled": receipt.scheduled, "deliver_at": receipt.deliver_at}
    return {
        "topic": receipt.topic,
        "offset": receipt.offset,
        "cursor": receipt.cursor,
        "subscribers": receipt.subscribers,
    }


def _headers_of(request: Request) -> dict[str, str] | None:
    """Return the message's headers: the request's that begin with `Extra-Header-`, without that.

    Raises:
        LimitExceeded: they are too many or too long.
    """
    headers: dict[str, str] | None = None  # nearly always there are none
    for name, value in request.headers:
        if name.startswith(HEADER_PREFIX) and len(name) > len(HEADER_PREFIX):
            if headers is None:
                headers = {}
            headers[name[len(HEADER_PREFIX) :].decode("ascii")] = value.decode("latin-1")
    if headers is not None and (flaw := headers_flaw(headers)):
        raise LimitExceeded(flaw)
    return headers


def _refuse_encoding(request: Request) -> None:
    """Refuse a compressed body, unread: what it inflates to cannot be known before."""
    encoding = (request.header("content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise Unsupported(f"content encoding {encoding[:40]!r}: bodies are taken as they are")
