"""Sockets: an HTTP/1.1 server, what its connections become, and the flow control of them all."""

from extra.servers.arrivals import Arrivals
from extra.servers.context import AccessLog
from extra.servers.counters import Counters
from extra.servers.eager import run_eagerly, run_in_place
from extra.servers.limits import ServerLimits
from extra.servers.proxies import TrustedProxies
from extra.servers.server import Address, Server

__all__ = [
    "AccessLog",
    "Address",
    "Arrivals",
    "Counters",
    "Server",
    "ServerLimits",
    "TrustedProxies",
    "run_eagerly",
    "run_in_place",
]
