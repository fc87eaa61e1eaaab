"""Extra: a messaging broker for the web, and the kit it is made of. Every topic is a URL.

    import extra

    async with extra.Broker() as broker:                            # in this process, or
    async with extra.Client("http://127.0.0.1:8080") as broker:     # at a distance: the same from here on
        async with broker.subscribe("site/+/temp", since="start") as messages:
            await broker.publish("site/a/temp", {"celsius": 21})
            async for message in messages:
                print(message.topic, message.data)

What is listed here is imported when it is first used, so that `import extra` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from extra.channels import Broadcast, Channel, select
    from extra.client import Client
    from extra.client.blocking import publish
    from extra.compilation import COMPILED
    from extra.errors import ExtraError, UnrecoverablePosition
    from extra.pubsub import Broker, Gap, Message, Page, Receipt

__all__ = [
    "COMPILED",
    "Broadcast",
    "Broker",
    "Channel",
    "Client",
    "ExtraError",
    "Gap",
    "Message",
    "Page",
    "Receipt",
    "UnrecoverablePosition",
    "publish",
    "select",
]

_HOMES: Final = {
    "COMPILED": "extra.compilation",
    "Broadcast": "extra.channels",
    "Broker": "extra.pubsub",
    "Channel": "extra.channels",
    "Client": "extra.client",
    "ExtraError": "extra.errors",
    "Gap": "extra.pubsub",
    "Message": "extra.pubsub",
    "Page": "extra.pubsub",
    "Receipt": "extra.pubsub",
    "UnrecoverablePosition": "extra.errors",
    "publish": "extra.client.blocking",
    "select": "extra.channels",
}


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
