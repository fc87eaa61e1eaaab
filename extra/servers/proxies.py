"""Who a request comes from, where proxies that are trusted stand between.

A proxy says it in `X-Forwarded-For` and `X-Forwarded-Proto`. Anybody can send these fields, so they count
only from a peer that is trusted, and of the addresses only those that a trusted one has added.
"""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from extra.http import Request

__all__ = ["TrustedProxies"]

SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

REMEMBERED: Final = 1024
"""Addresses of which it is known whether they are believed: looking takes some microseconds."""


class TrustedProxies:
    """The proxies that are believed, by address."""

    def __init__(self, addresses: str) -> None:
        """Trust `addresses`: addresses and networks with commas between them, or `*` for every peer.

        The peers of a Unix socket have no address, and are trusted with `*` alone.

        Raises:
            ValueError: there is one that is neither an address nor a network.
        """
        parts = [part.strip() for part in addresses.split(",") if part.strip()]
        self._everybody = "*" in parts
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(part) for part in parts if part != "*"]

        self.trusts: Callable[[str], bool] = lru_cache(REMEMBERED)(self._trusts)
        """Return whether the peer at an address, without a port, is believed."""

    def _trusts(self, address: str) -> bool:
        if self._everybody:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)

    def correct(self, request: Request) -> None:
        """Let `request` say where it comes from, if a trusted proxy has passed it on.

        The client is the last address that no trusted proxy has; its port is not known, and 0.
        """
        passed: list[bytes] = []
        said = b""
        for (
            name,
            value,
        ) in request.headers:  # not `header`, which costs ten times as much
            if name == b"x-forwarded-for":
                passed += value.split(b",")
            elif name == b"x-forwarded-proto":
                said = value
        if not (passed or said) or not self.trusts(request.client.rpartition(":")[0].strip("[]")):
            return
        scheme = said.rpartition(b",")[2].strip().lower().decode("latin-1")
        if scheme in SCHEMES:
            request.scheme = SCHEMES[scheme]
        hops = [hop for part in passed if (hop := without_port(part.strip().decode("latin-1")))]
        if hops:
            host = next((hop for hop in reversed(hops) if not self.trusts(hop)), hops[0])
            request.client = f"[{host}]:0" if ":" in host else f"{host}:0"


def without_port(text: str) -> str:
    """Return the address in `text`, which may have a port; empty when there is none."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return ""
