"""Services: classes whose decorated methods answer requests, hold WebSockets and react to topics."""

from extra.services.application import Services
from extra.services.arguments import InvalidArguments
from extra.services.declarations import every, expose, on, post, pre, when
from extra.services.files import Files
from extra.services.limits import ServiceLimits, TimedOut
from extra.services.replies import NobodyServes, RequestFailed
from extra.services.schedule import Timer
from extra.services.service import Service
from extra.services.sockets import Socket

__all__ = [
    "Files",
    "InvalidArguments",
    "NobodyServes",
    "RequestFailed",
    "Service",
    "ServiceLimits",
    "Services",
    "Socket",
    "TimedOut",
    "Timer",
    "every",
    "expose",
    "on",
    "post",
    "pre",
    "when",
]
