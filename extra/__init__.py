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
    from extra.bridges import server
    from extra.channels import Broadcast, Channel, select
    from extra.client import Client
    from extra.client.blocking import publish
    from extra.commands import OptionError, run
    from extra.compilation import COMPILED
    from extra.errors import (
        AuthError,
        BrokerClosed,
        ChannelClosed,
        ChannelEmpty,
        ChannelFull,
        EngineError,
        EngineUnavailable,
        ExtraError,
        Forbidden,
        GroupConflict,
        InvalidCommand,
        InvalidCursor,
        InvalidFilter,
        InvalidPayload,
        InvalidTopic,
        LimitExceeded,
        LocalProtocolError,
        NotDelivered,
        PreconditionFailed,
        ProtocolError,
        RemoteProtocolError,
        SessionTakenOver,
        TopicClosed,
        Unauthenticated,
        UnrecoverablePosition,
    )
    from extra.http import (
        BadRequest,
        Conflict,
        Found,
        Gone,
        HTTPError,
        MethodNotAllowed,
        MovedPermanently,
        NotFound,
        Request,
        Response,
        SeeOther,
        ServiceUnavailable,
        TemporaryRedirect,
        TooManyRequests,
    )
    from extra.pubsub import Broker, Gap, Message, Page, Receipt
    from extra.services import (
        NobodyServes,
        RequestFailed,
        Service,
        ServiceLimits,
        Services,
        Socket,
        every,
        expose,
        on,
        post,
        pre,
        when,
    )

__all__ = [
    "COMPILED",
    "AuthError",
    "BadRequest",
    "Broadcast",
    "Broker",
    "BrokerClosed",
    "Channel",
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelFull",
    "Client",
    "Conflict",
    "EngineError",
    "EngineUnavailable",
    "ExtraError",
    "Forbidden",
    "Found",
    "Gap",
    "Gone",
    "GroupConflict",
    "HTTPError",
    "InvalidCommand",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidPayload",
    "InvalidTopic",
    "LimitExceeded",
    "LocalProtocolError",
    "Message",
    "MethodNotAllowed",
    "MovedPermanently",
    "NobodyServes",
    "NotDelivered",
    "NotFound",
    "OptionError",
    "Page",
    "PreconditionFailed",
    "ProtocolError",
    "Receipt",
    "RemoteProtocolError",
    "Request",
    "RequestFailed",
    "Response",
    "Scheduled",
    "ScheduledPage",
    "SeeOther",
    "Service",
    "ServiceLimits",
    "ServiceUnavailable",
    "Services",
    "SessionTakenOver",
    "Socket",
    "TemporaryRedirect",
    "TooManyRequests",
    "TopicClosed",
    "Unauthenticated",
    "UnrecoverablePosition",
    "every",
    "expose",
    "on",
    "post",
    "pre",
    "publish",
    "run",
    "select",
    "server",
    "when",
]

_HOMES: Final = {
    "COMPILED": "extra.compilation",
    "AuthError": "extra.errors",
    "BadRequest": "extra.http",
    "Broadcast": "extra.channels",
    "Broker": "extra.pubsub",
    "BrokerClosed": "extra.errors",
    "Channel": "extra.channels",
    "ChannelClosed": "extra.errors",
    "ChannelEmpty": "extra.errors",
    "ChannelFull": "extra.errors",
    "Client": "extra.client",
    "Conflict": "extra.http",
    "EngineError": "extra.errors",
    "EngineUnavailable": "extra.errors",
    "ExtraError": "extra.errors",
    "Forbidden": "extra.errors",
    "Found": "extra.http",
    "Gap": "extra.pubsub",
    "Gone": "extra.http",
    "GroupConflict": "extra.errors",
    "HTTPError": "extra.http",
    "InvalidCommand": "extra.errors",
    "InvalidCursor": "extra.errors",
    "InvalidFilter": "extra.errors",
    "InvalidPayload": "extra.errors",
    "InvalidTopic": "extra.errors",
    "LimitExceeded": "extra.errors",
    "LocalProtocolError": "extra.errors",
    "PreconditionFailed": "extra.errors",
    "TopicClosed": "extra.errors",
    "Message": "extra.pubsub",
    "MethodNotAllowed": "extra.http",
    "MovedPermanently": "extra.http",
    "NobodyServes": "extra.services",
    "NotDelivered": "extra.errors",
    "NotFound": "extra.http",
    "OptionError": "extra.commands",
    "Page": "extra.pubsub",
    "ProtocolError": "extra.errors",
    "Receipt": "extra.pubsub",
    "Scheduled": "extra.pubsub",
    "ScheduledPage": "extra.pubsub",
    "RemoteProtocolError": "extra.errors",
    "Request": "extra.http",
    "RequestFailed": "extra.services",
    "Response": "extra.http",
    "SeeOther": "extra.http",
    "Service": "extra.services",
    "ServiceLimits": "extra.services",
    "ServiceUnavailable": "extra.http",
    "Services": "extra.services",
    "SessionTakenOver": "extra.errors",
    "Socket": "extra.services",
    "TemporaryRedirect": "extra.http",
    "TooManyRequests": "extra.http",
    "Unauthenticated": "extra.errors",
    "UnrecoverablePosition": "extra.errors",
    "every": "extra.services",
    "expose": "extra.services",
    "on": "extra.services",
    "post": "extra.services",
    "pre": "extra.services",
    "publish": "extra.client.blocking",
    "run": "extra.commands",
    "select": "extra.channels",
    "server": "extra.bridges",
    "when": "extra.services",
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
