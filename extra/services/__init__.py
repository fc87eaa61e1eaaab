"""Services: classes whose decorated methods answer requests, hold WebSockets and react to topics."""

from extra.services.application import Services
from extra.services.arguments import InvalidArguments
from extra.services.declarations import every, expose, on, post, pre, when
from extra.services.limits import ServiceLimits, TimedOut
from extra.services.service import Service

__all__ = [
    "InvalidArguments",
    "Service",
    "ServiceLimits",
    "Services",
    "TimedOut",
    "every",
    "expose",
    "on",
    "post",
    "pre",
    "when",
]
