"""The groups of one broker: who joins them, how long they are kept, and what survives a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from extra.errors import GroupConflict, InvalidCommand, LimitExceeded, NotDelivered
from extra.pubsub.group import Group
from extra.pubsub.group_member import GroupMember, Refusal
from extra.pubsub.group_options import GroupOptions, settle_terms
from extra.pubsub.group_state import decode_state
from extra.pubsub.named import check_name
from extra.pubsub.position import Since

if TYPE_CHECKING:
    from extra.pubsub.broker import Broker

__all__ = ["Groups"]

KIND: Final = "group"
"""The kind of the states that keep them, by name."""


@final
@mypyc_attr(native_class=True)
class Groups:
    """All of one broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.groups: dict[str, Group] = {}
        self.expired_total = 0
        self.gone = Totals()  # of groups that are there no longer

    def restore(self) -> None:
        """Read back those from before the start; of another epoch there are none."""
        broker = self.broker
        for name, value in broker.engine.states(KIND):
            group = self._restored(name, value)
            if group is None:
                broker.engine.keep_state(KIND, name, b"")
            else:
                self.groups[name] = group

    def find(self, name: str) -> Group:
        """Return the group of this name. Raises InvalidCommand when there is none."""
        group = self.groups.get(name)
        if group is None:
            raise InvalidCommand(f"group {name[:80]!r}: there is none of this name (any more)")
        return group

    async def join(
        self, name: str, filters: list[str], options: GroupOptions, since: Since, member: GroupMember
    ) -> Group:
        """Let somebody share what a group reads; the group is made if there is none, to begin at `since`.

        Returns when the group is as safe as a message with a receipt.

        Raises:
            GroupConflict: its members have other filters or options.
            InvalidCommand: the name or an option is not one.
            LimitExceeded: too many groups, members, or bytes of filters.
            InvalidFilter, InvalidCursor, InvalidTopic, EngineUnavailable, BrokerClosed.
        """
        broker = self.broker
        limits = broker.limits
        check_name(KIND, name)
        limits.check_filters(filters)
        filters = list(dict.fromkeys(filters))
        limits.check_room(set(filters))
        broker.life.check()
        group = self.groups.get(name)
        if group is None:
            terms = settle_terms(filters, options, limits.group_expiry_s)
            after = await broker.begins_after(filters, since)
            group = self.groups.get(name)  # somebody may have been faster
            if group is None:
                if len(self.groups) >= limits.groups_limit:
                    raise LimitExceeded(f"more groups than {limits.groups_limit} (broker.groups_limit)")
                group = Group(broker, name, terms, after)
                group.since = None if since.kind == "now" else since
                self.groups[name] = group
        if group.admit(filters, options, limits.group_expiry_s):
            group.is_kept = False
        if member.id not in group.members and len(group.members) >= limits.group_members_limit:
            raise LimitExceeded(
                f"group {name[:80]!r} has {len(group.members)} members (broker.group_members_limit)"
            )
        group.join(member)
        if not group.is_kept:
            self._keep(group)
            try:
                await broker.engine.settled()
            except BaseException:
                group.leave(member)
                raise
            group.is_kept = True
        return group

    def acknowledge(self, name: str, member_id: str, offsets: list[int]) -> Group:
        """Settle messages that a member holds. Those that it does hold count, whatever the others are.

        Raises:
            NotDelivered: it does not hold some of them. InvalidCommand: there is no such group.
        """
        group = self.find(name)
        _refuse(group, group.acknowledge(member_id, offsets), len(offsets))
        return group

    def give_back(self, name: str, member_id: str, offsets: list[int], delay_s: float = 0.0) -> Group:
        """Have messages that a member holds handed out again, not before `delay_s`. Raises likewise."""
        group = self.find(name)
        _refuse(group, group.give_back(member_id, offsets, delay_s), len(offsets))
        return group

    def remove(self, name: str) -> None:
        """Let go of a group that has no members.

        Raises:
            GroupConflict: it has some. InvalidCommand: there is no such group.
        """
        group = self.find(name)
        if group.members:
            raise GroupConflict(
                f"group {name[:80]!r} has {len(group.members)} members: they have to go first"
            )
        group.fall_asleep()
        del self.groups[name]
        self.gone.add(group)
        self.broker.engine.keep_state(KIND, name, b"")

    def sweep(self, now: float, time: float) -> None:
        """Do what time brings: once a second. Cost: a step per group, member and message overdue."""
        for name, group in list(self.groups.items()):
            group.tick(now)
            if group.members:
                group.seen_at = time
            elif group.seen_at + group.terms.expires_s <= time:
                self.remove(name)
                self.expired_total += 1
                continue
            if group.is_moved:
                self._keep(group)

    async def close(self) -> None:
        """Have the engine keep where all stand, as the broker closes."""
        tasks: list[asyncio.Task[None]] = []
        for group in self.groups.values():
            for member in list(group.members.values()):
                member.broker_closed()
                group.leave(member)
            tasks += [task for task in (group.reading, group.burying) if task is not None]
            group.fall_asleep()
            self._keep(group)
        if tasks:
            await asyncio.wait(tasks)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        totals = Totals()
        totals.copy(self.gone)
        members = held = waiting = 0
        for group in self.groups.values():
            totals.add(group)
            members += len(group.members)
            held += group.held
            waiting += len(group.jobs) - group.held
        return {
            "groups": len(self.groups),
            "groups_expired": self.expired_total,
            "group_members": members,
            "group_unacknowledged": held,
            "group_waiting": waiting,
            "group_deliveries": totals.deliveries,
            "group_redeliveries": totals.redeliveries,
            "group_acknowledged": totals.acknowledged,
            "group_timeouts": totals.timeouts,
            "group_dead_letters": totals.dead_letters,
        }

    def _keep(self, group: Group) -> None:
        group.is_moved = False
        self.broker.engine.keep_state(KIND, group.name, group.state())

    def _restored(self, name: str, value: bytes) -> Group | None:
        """Return a group as it was before the start; None when it is of another epoch, or no state of one."""
        broker = self.broker
        try:
            state = decode_state(value)
        except (ValueError, TypeError, KeyError):
            return None
        if state.epoch != broker.epoch() or state.offset > broker.engine.head():
            return None
        group = Group(broker, name, state.terms, state.offset)
        group.restore(state)
        return group


@final
@mypyc_attr(native_class=True)
class Totals:
    """What groups have done."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.redeliveries = 0
        self.acknowledged = 0
        self.timeouts = 0
        self.dead_letters = 0

    def add(self, group: Group) -> None:
        """Add what one group has done."""
        self.deliveries += group.deliveries_total
        self.redeliveries += group.redeliveries_total
        self.acknowledged += group.acknowledged_total
        self.timeouts += group.timeouts_total
        self.dead_letters += group.dead_letters_total

    def copy(self, others: Totals) -> None:
        """Begin with what others have done."""
        self.deliveries = others.deliveries
        self.redeliveries = others.redeliveries
        self.acknowledged = others.acknowledged
        self.timeouts = others.timeouts
        self.dead_letters = others.dead_letters


def _refuse(group: Group, refused: list[Refusal], count: int) -> None:
    if refused:
        first = refused[0]
        more = f", and {len(refused) - 1} others of {count}" if len(refused) > 1 else ""
        raise NotDelivered(
            f"group {group.name[:80]!r}: offset {first.offset} {first.reason}{more}",
            [each.offset for each in refused],
        )
