"""Services by themselves."""

import pytest

from extra.errors import BrokerClosed
from extra.services import Service, Services, on
from extra.testing import TestClient


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


async def test_methods_need_not_be_of_the_object() -> None:
    class Static(Service):
        @staticmethod
        @on(GET="/static/{a}")
        async def of_nothing(a: int) -> int:
            return a

        @classmethod
        @on(GET="/class/{a}")
        def of_the_class(cls, a: int) -> str:
            return f"{cls.__name__} {a}"

    async with TestClient(Services(Static)) as client:
        assert (await client.get("/static/1")).text == "1"
        assert (await client.get("/class/2")).text == "Static 2"


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
