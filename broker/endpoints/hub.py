"""What the endpoints of one broker share: its parts, its open feeds and polls, and how they all end."""

import asyncio
import random
from asyncio import TaskGroup
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from broker.endpoints.feed import Flusher
from broker.endpoints.forms import Forms
from broker.endpoints.tally import Tally
from broker.settings import Settings
from extra.http import Request
from extra.pubsub import Broker, Message
from extra.pubsub.gates import admit_filters, admit_message
from extra.servers.eager import run_eagerly

__all__ = ["Closing", "Hub"]


class Closing(Protocol):
    """Something open that wants to be told of time passing and of the end."""

    def tick(self) -> None:
        """A second has passed."""

    def end(self, reason: str, reconnect_after_s: float) -> None:
        """The broker shuts down: tell the client, and come to an end."""


class Hub:
    """The broker, its settings and wire forms, and everything that stays open."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        tasks: TaskGroup,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`tasks` owns what goes on beside requests; `draw` gives a random number from 0 to 1.

        `keeps_requests` may be set where somebody may decide, later on, about who is connected already.
        """
        self.broker = broker
        self.settings = settings
        self.tasks = tasks
        self.draw = draw
        self.forms = Forms()
        self.flusher = Flusher(asyncio.get_running_loop())
        self.open: set[Closing] = set()
        self.tally = Tally()
        self.polls = 0  # that wait
        self.is_draining = False
        self.keeps_requests = False
        self.goodbyes_total: dict[str, int] = {"slow": 0, "shutdown": 0}

    async def admit_filters(self, filters: list[str], request: Request | None) -> list[str]:
        """Return what a client may subscribe to in place of `filters`: themselves, where nobody decides.

        Raises:
            ExtraError: it may not; `Forbidden`, as a rule. InvalidFilter.
        """
        gates = self.broker.gates
        if not gates:
            return filters
        self.broker.check_filters(filters)
        return await admit_filters(gates, filters, request)

    async def admit_message(self, message: Message, request: Request | None) -> Message:
        """Return what a client may publish in place of `message`. Raises as `admit_filters` does."""
        return await admit_message(self.broker.gates, message, request)

    def request_to_keep(self, request: Request) -> Request | None:
        """Return the request with which a connection was opened, if anybody may want to know that later."""
        return request if self.keeps_requests or self.broker.gates else None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside requests: at once, until it suspends."""
        run_eagerly(coroutine, self.tasks)

    def tick(self) -> None:
        """Do what is due once a second: heartbeats and what retention gives back."""
        self.broker.sweep()
        for each in list(self.open):
            each.tick()

    def drain(self) -> None:
        """Tell every client that the broker shuts down.

        Each with a delay of its own over the drain window.
        """
        self.is_draining = True
        for each in list(self.open):
            each.end("shutdown", round(self.reconnect_after(), 3))

    def count_goodbye(self, reason: str) -> None:
        """Count a connection that the broker ends."""
        self.goodbyes_total[reason] = self.goodbyes_total.get(reason, 0) + 1

    def reconnect_after(self) -> float:
        """Return a delay in seconds, at random over the drain window."""
        return self.draw() * self.settings.server.drain_window_s
