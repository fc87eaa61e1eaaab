"""`extra routes`."""

import pytest

from extra import Service, on, server
from extra.commands.routes import show


class Rooms(Service):
    prefix = "rooms"

    @on(GET_HEAD="/{room:int}", POST="/")
    async def show(self, room: int = 0) -> None: ...


rooms = server(Rooms)
nothing = 7


async def other(scope: object, receive: object, send: object) -> None: ...


def test_each_route_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(f"{__name__}:rooms", factory=False, directory="") == 0
    assert capsys.readouterr().out.splitlines() == [
        "GET   /rooms/{room:int}  Rooms.show",
        "HEAD  /rooms/{room:int}  Rooms.show",
        "POST  /rooms/            Rooms.show",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [("nothing", "no application"), ("other", "made of services"), ("nowhere", "there is no")],
)
def test_what_has_no_routes_is_told(name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(f"{__name__}:{name}", factory=False, directory="") == 1
    assert told in capsys.readouterr().err
