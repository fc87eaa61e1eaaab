"""What is asked of a broker in a request of its own, over HTTP and beside the connection."""

import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from extra.client.address import Address
from extra.client.attendance import presence_page
from extra.client.caller import Answer
from extra.client.exchange import exchange
from extra.client.problems import last_offset_of, scheduled_page_of
from extra.client.subscriptions import message_of
from extra.errors import RemoteProtocolError
from extra.protocols.pushes import MessagePush, decode_pushes_json
from extra.pubsub import Page, PresencePage, ScheduledPage, parse_cursor

__all__ = ["Asking"]

REREADS = 3
"""So often reading history goes on from where the broker says, before it is given up."""


class Asking:
    """Requests to one broker, each over a connection of its own. Arguments have been checked.

    `timeout_s` bounds each wait for the network.

    Raises, from every method:
        TimeoutError, BrokerClosed, RemoteProtocolError, and what the broker answers with.
    """

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        timeout_s: float,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._address = address
        self._headers = headers
        self._timeout_s = timeout_s
        self._ssl_context = ssl_context

    async def present(self, filters: Sequence[str], limit: int) -> PresencePage:
        """Return who is present at matching topics: `limit` members at most."""
        query = [*(("topic", topic_filter) for topic_filter in filters), ("limit", str(limit))]
        answer = await self.call("GET", self._address.target("/presence", query))
        if answer.status != 200:
            raise answer.error()
        try:
            return presence_page(answer.body)
        except (ValueError, TypeError, KeyError) as error:
            raise RemoteProtocolError(f"{answer.url} does not say who is present") from error

    async def history(self, filters: Sequence[str], since: str, limit: int, retained: bool | None) -> Page:
        """Read what the log has after `since`, at most `limit` messages."""
        query = [("topic", topic_filter) for topic_filter in filters]
        query.append(("limit", str(limit)))
        if retained is not None:
            query.append(("retained", "1" if retained else "0"))
        resume = ""
        for _ in range(1 + REREADS):
            target = self._address.target("/poll", [*query, ("since", resume or since)])
            answer = await self.call("GET", target, accept="application/x-ndjson")
            if answer.status != 410:
                break
            # part of what was asked for is gone: take what is left
            resume = answer.headers.get("extra-cursor", "")
        if answer.status != 200:
            raise answer.error()
        cursor = answer.headers.get("extra-cursor", "")
        epoch = parse_cursor(cursor).epoch
        pushes = decode_pushes_json(b"[" + b",".join(answer.body.splitlines()) + b"]")
        return Page(
            messages=[message_of(push, epoch) for push in pushes if isinstance(push, MessagePush)],
            cursor=cursor,
            complete=not resume and answer.headers.get("extra-complete") != "false",
            more=answer.headers.get("extra-more") == "true",
            resume=resume,
            lost_until=parse_cursor(resume).known if resume else 0,
            last_offset=last_offset_of(answer.headers),
            closed=answer.headers.get("extra-closed") == "true",
        )

    async def clear(self, topic: str) -> None:
        """Let go of what a topic retains, if it does."""
        answer = await self.call("DELETE", self._address.topic_target(topic))
        if answer.status != 204:
            raise answer.error()

    async def scheduled(self, after: str, limit: int) -> ScheduledPage:
        """Return what is to be published later, from `after` on."""
        target = self._address.target("/scheduled", [("after", after), ("limit", str(limit))])
        answer = await self.call("GET", target)
        if answer.status != 200:
            raise answer.error()
        return scheduled_page_of(answer.body)

    async def cancel(self, scheduled: str) -> bool:
        """Take back what is to be published later, by its id; return whether it was there."""
        target = self._address.target(f"/scheduled/{quote(scheduled, safe='')}", [])
        answer = await self.call("DELETE", target)
        if answer.status not in (204, 404):
            raise answer.error()
        return answer.status == 204

    async def call(self, method: str, target: str, body: bytes = b"", *, accept: str = "") -> Answer:
        """Make any request; return the answer, whatever its status."""
        headers = {**self._headers, "Accept": accept} if accept else dict(self._headers)
        return await exchange(
            self._address,
            method,
            target,
            headers,
            body,
            timeout_s=self._timeout_s,
            ssl_context=self._ssl_context,
        )
