"""Members of groups, and what they hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, final

from mypy_extensions import mypyc_attr

from extra.pubsub.message import Gap, Message

if TYPE_CHECKING:
    from extra.pubsub.group import Group

__all__ = ["GroupMember", "Job", "Refusal"]


@final
@mypyc_attr(native_class=True)
class Job:
    """A message that was read and is not settled. `not_before` is in Unix seconds, `due` a monotonic time."""

    __slots__ = ("deliveries", "due", "holder", "lane", "last", "message", "not_before")

    def __init__(self, message: Message, deliveries: int, not_before: float) -> None:
        self.message = message
        self.deliveries = deliveries
        self.not_before = not_before
        self.due = 0.0
        self.holder: GroupMember | None = None
        self.last = ""  # the member that had it last
        self.lane = ""


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class GroupMember(ABC):
    """Who takes a share of a group's messages. `id` tells the members of a group apart."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.joined: Group | None = None
        self.unacknowledged: dict[int, Job] = {}

    def leave(self) -> None:
        """Be a member no longer: what it holds goes to others. Idempotent."""
        if self.joined is not None:
            self.joined.leave(self)

    @abstractmethod
    def has_room(self) -> bool:
        """Return whether it takes a message now. Who did not is asked again within a second.

        It can say so before: `Group.has_room_again`.
        """

    @abstractmethod
    def hand(self, message: Message, deliveries: int) -> None:
        """Take a message, which has been handed out so often, this time included."""

    @abstractmethod
    def tell_gap(self, gap: Gap) -> None:
        """Take note that the log has lost messages before the group came to them."""

    @abstractmethod
    def replaced(self) -> None:
        """Another has come under this one's id, and has its messages: come to an end."""

    def is_gone(self) -> bool:
        """Return whether it is a member no longer, though nobody has said so."""
        return False

    def broker_closed(self) -> None:  # noqa: B027 - connections are told otherwise
        """The broker is closing."""


@final
@mypyc_attr(native_class=True)
class Refusal:
    """An offset that could not be acknowledged, and why."""

    __slots__ = ("offset", "reason")

    def __init__(self, offset: int, reason: str) -> None:
        self.offset = offset
        self.reason = reason
