"""Publishing from code that is not async: plain HTTP with the standard library alone.

    from extra.client import blocking

    blocking.publish("http://127.0.0.1:8080", "site/a/temp", {"celsius": 21})

One connection is kept open per thread and broker. Whoever wants to say when it is closed uses a `Publisher`.
"""

import json
import os
import re
import ssl
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from types import TracebackType

from extra.client.address import Address
from extra.client.caller import Caller
from extra.errors import InvalidCommand, RemoteProtocolError
from extra.payloads import USUAL_CONTENT_TYPE
from extra.pubsub import Receipt, compose
from extra.pubsub.arguments import check_publication

__all__ = ["Publisher", "publish"]

KEPT_LIMIT = 8
"""So many brokers' connections are kept open per thread; the one used longest ago is closed."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE = re.compile(r"(?:[!-~\xa0-\xff](?:[ -~\xa0-\xff]*[!-~\xa0-\xff])?)?")  # what HTTP carries unchanged


class Publisher:
    """Publishes to one broker over one connection. For one thread at a time.

    `timeout_s` bounds the connecting and then each wait for the network. `headers` go with every request.

    Raises:
        ValueError: `url` is not the URL of a broker.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self._caller = Caller(self._address, timeout_s=timeout_s, headers=headers, ssl_context=ssl_context)

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Publishing again opens it anew."""
        self._caller.close()

    def publish(
        self,
        topic: str,
        data: object,
        *,
        retain: bool = False,
        ttl: float | None = None,
        key: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        if_last: int | None = None,
        close: bool | None = None,
        deliver_at: float | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Publish a value: bytes as they are, a string as text, anything else as JSON.

        The broker publishes it once, also if a kept connection turns out to be stale and it has to be sent
        again: it goes with an idempotency key, `key` or one made here. When this raises, it may have been
        published, but for the first five errors. With `if_last` it is published if the last message of the
        topic has this offset; 0 is for a topic that has none yet. With `close=True` it is the last message of
        its topic; one with `close=False` opens that anew. With `deliver_at` (Unix seconds) the broker
        publishes it then. In `headers`, HTTP carries names in lower
        case and values in Latin-1.

        Raises:
            PreconditionFailed: another message is the last one; its `offset` tells which.
            InvalidTopic: not a topic, or one that starts with `$`.
            InvalidPayload: `data` cannot be written as JSON, or is not what `content_type` says.
            InvalidCommand: another argument is not what it should be.
            TopicClosed: the topic has had its last message.
            LimitExceeded: something is more than a limit of the broker.
            EngineUnavailable: the log cannot be written just now.
            BrokerClosed: nobody answers there, or a broker that is shutting down.
            RemoteProtocolError: whoever answers is no broker.
            TimeoutError: nothing came in time.
            TypeError: an argument is not of its type.
        """
        check_publication(
            topic, retain, ttl, key, content_type, dict(headers or {}), if_last, close, deliver_at
        )
        message = compose(topic, data, content_type=content_type)
        query = [("key", key if key is not None else uuid.uuid4().hex)]
        if ttl is not None:
            query.append(("ttl", str(round(ttl, 9))))
        if close is not None:
            query.append(("close", "1" if close else "0"))
        answer = self._caller.call(
            "PUT" if retain else "POST",
            self._address.topic_target(topic, query),
            message.payload,
            _request_headers(content_type or USUAL_CONTENT_TYPE[message.kind], headers or {})
            | ({} if if_last is None else {"If-Match": f'"{if_last}"'})
            | ({} if deliver_at is None else {"Extra-Deliver-At": str(round(deliver_at, 6))}),
            timeout_s=timeout_s,
        )
        if answer.status not in (201, 202):
            raise answer.error()
        try:
            told = json.loads(answer.body)
            if answer.status == 202:
                return Receipt(told["topic"], 0, "", 0, told["scheduled"], told["deliver_at"])
            return Receipt(told["topic"], told["offset"], told["cursor"], told["subscribers"])
        except (ValueError, TypeError, KeyError) as error:
            raise RemoteProtocolError(f"{answer.url} answers without a receipt") from error


def publish(
    url: str,
    topic: str,
    data: object,
    *,
    retain: bool = False,
    ttl: float | None = None,
    key: str | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
    if_last: int | None = None,
    close: bool | None = None,
    deliver_at: float | None = None,
    timeout_s: float = 10.0,
) -> Receipt:
    """Publish to the broker at `url`, over this thread's connection to it: see `Publisher.publish`."""
    return (
        _kept()
        .publisher(url)
        .publish(
            topic,
            data,
            retain=retain,
            ttl=ttl,
            key=key,
            content_type=content_type,
            headers=headers,
            if_last=if_last,
            close=close,
            deliver_at=deliver_at,
            timeout_s=timeout_s,
        )
    )


class _Kept:
    """The publishers of one thread in one process, by URL, the one used last at the end."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.publishers: OrderedDict[str, Publisher] = OrderedDict()

    def publisher(self, url: str) -> Publisher:
        publisher = self.publishers.get(url)
        if publisher is None:
            publisher = self.publishers[url] = Publisher(url)
            if len(self.publishers) > KEPT_LIMIT:
                self.publishers.popitem(last=False)[1].close()
        self.publishers.move_to_end(url)
        return publisher

    def __del__(self) -> None:
        """Close the connections: the thread has ended, or the process was forked."""
        for publisher in self.publishers.values():
            publisher.close()


_local = threading.local()


def _kept() -> _Kept:
    """Return what this thread keeps. A forked process begins anew: two must not write to one connection."""
    kept: _Kept | None = getattr(_local, "kept", None)
    if kept is None or kept.process != os.getpid():
        kept = _local.kept = _Kept()
    return kept


def _request_headers(content_type: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the header fields of a request that publishes.

    Raises:
        InvalidCommand: HTTP cannot carry one of them as it is.
    """
    fields = {"Content-Type": content_type}
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise InvalidCommand(f"header {name[:80]!r}: HTTP has no such name")
        fields[f"Extra-Header-{name}"] = value
    for name, value in fields.items():
        if not _VALUE.fullmatch(value):
            raise InvalidCommand(
                f"value of {name[:80]!r}: HTTP carries printable Latin-1, not blank at the ends"
            )
    return fields
