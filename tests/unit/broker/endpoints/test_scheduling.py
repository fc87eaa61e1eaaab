"""What is to be published later: listed, and taken back."""

from collections.abc import AsyncIterator

import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.scheduling import Scheduling
from extra.errors import InvalidCommand
from extra.http import NotFound, Request
from tests.unit.broker.endpoints.driving import fields_of, headers_of, make_request, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        yield hub


def cancelling(id: str) -> Request:
    request = make_request("DELETE", f"/scheduled/{id}")
    request.params = {"id": id}
    return request


async def test_what_is_scheduled_comes_in_pages(hub: Hub) -> None:
    now = hub.broker.clock.time()
    ids = [
        (await hub.broker.publish("a", seconds, deliver_at=now + seconds, retain=seconds == 1)).scheduled
        for seconds in (3, 1, 2)
    ]
    scheduling = Scheduling(hub)
    response = await scheduling.page(make_request("GET", "/scheduled?limit=2"))
    assert (response.status, headers_of(response)) == (200, {"cache-control": "no-store"})
    told = fields_of(response)
    assert told["scheduled"] == [
        {"scheduled": ids[1], "topic": "a", "deliver_at": now + 1, "payload_bytes": 1, "retained": True},
        {"scheduled": ids[2], "topic": "a", "deliver_at": now + 2, "payload_bytes": 1, "retained": False},
    ]
    rest = fields_of(await scheduling.page(make_request("GET", f"/scheduled?after={told['after']}")))
    assert isinstance(rest["scheduled"], list)
    assert (len(rest["scheduled"]), rest["after"]) == (1, "")


@pytest.mark.parametrize("query", ["limit=0", "limit=1.5", "limit=10001", "after=x"])
async def test_what_is_wrong_with_the_request_is_told(hub: Hub, query: str) -> None:
    with pytest.raises(InvalidCommand):
        await Scheduling(hub).page(make_request("GET", f"/scheduled?{query}"))


async def test_one_that_was_taken_back_is_gone(hub: Hub) -> None:
    receipt = await hub.broker.publish("a", 1, deliver_at=hub.broker.clock.time() + 1)
    assert (await Scheduling(hub).cancel(cancelling(receipt.scheduled))).status == 204
    with pytest.raises(NotFound):
        await Scheduling(hub).cancel(cancelling(receipt.scheduled))
