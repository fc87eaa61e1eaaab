"""Services by themselves."""

import pytest

from extra.errors import BrokerClosed
from extra.services import Service, Services, on


class Base(Service):
    @on(GET="/a")
    def a(self) -> str:
        return "a"

    @on(GET="/b")
    def b(self) -> str:
        return "b"

    def helper(self) -> None: ...


class Derived(Base):
    def a(self) -> str:
        return "overridden, and no longer declared"

    @on(GET="/c")
    def b(self) -> str:
        return "c"


def test_declared_methods_are_found_once_and_may_be_overridden() -> None:
    assert [name for name, _ in Base().declared()] == ["a", "b"]
    found = list(Derived().declared())
    assert [(name, notes.places[0].place) for name, notes in found] == [("b", "/c")]


async def test_what_is_behind_a_service_is_there_when_it_runs() -> None:
    service = Base()
    with pytest.raises(BrokerClosed, match="Base is not part of an application"):
        _ = service.services
    services = Services(service)
    assert service.services is services
    with pytest.raises(BrokerClosed, match="has not been started"):
        _ = service.broker
    async with services:
        assert service.broker is services.broker
        async with service.broker.subscribe("a/+") as messages:
            receipt = await service.publish("a/b", {"n": 1}, headers={"x": "y"})
            message = await anext(messages)
            assert (message.offset, message.data, message.headers) == (receipt.offset, {"n": 1}, {"x": "y"})
