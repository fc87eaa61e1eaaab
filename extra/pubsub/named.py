"""Named sessions: positions that the broker keeps for readers who come and go.

A named session outlives connections. It has a position, and at most one holder: the session of the
connection that claimed it last. Without acknowledgement the position follows what the holder has been given,
as it would resume; with it, only what is acknowledged moves it, and never back. Positions are kept as states
of the kind "session", those that have moved at each sweep: after a crash of the process a reader may get
again what it had in the last second, and misses nothing.

One that nobody holds is let go of after its time. All is bounded by the number of sessions.
"""

from __future__ import annotations

import json
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, LimitExceeded, SessionTakenOver
from extra.pubsub.engine import Engine
from extra.pubsub.position import format_cursor, parse_cursor
from extra.pubsub.session import CLOSED, Session

__all__ = ["NamedSession", "NamedSessions", "check_name", "taken_over"]

KIND: Final = "session"
"""The kind of the states that keep them, by name."""
NAME_LIMIT_BYTES: Final = 128
EXPIRY_LEAST_S: Final = 1.0
SWEEP_SESSIONS: Final = 1_000
"""So many are looked at in one sweep, some 5 ms; of ten thousand each every ten seconds."""
FOLLOWED_ENTRIES: Final = 256
"""Where more than that waits for a holder, its position is left behind where it is until less does."""


@final
@mypyc_attr(native_class=True)
class NamedSession:
    """A position under a name. `offset` is how far it has come, and `given` the highest offset that any
    holder or reader of pages has been given, or may have been before a restart; up to `known` losses have
    been told. `paged` is how far a page went that nobody has come back from, or 0. `since` is the cursor
    where its present holder began, who was the first if it `is_new`. `seen_at` is when it was last held, in
    Unix seconds.
    """

    __slots__ = (
        "ack",
        "expires_s",
        "given",
        "holder",
        "is_moved",
        "is_new",
        "known",
        "name",
        "offset",
        "paged",
        "seen_at",
        "since",
    )

    def __init__(self, name: str, offset: int, ack: bool, expires_s: float, seen_at: float) -> None:
        self.name = name
        self.offset = offset
        self.given = offset
        self.ack = ack
        self.expires_s = expires_s
        self.seen_at = seen_at
        self.since = ""
        self.known = 0
        self.paged = 0
        self.is_new = False
        self.holder: Session | None = None
        self.is_moved = True  # since it was last handed to the engine


@final
@mypyc_attr(native_class=True)
class NamedSessions:
    """All of one broker."""

    def __init__(self, engine: Engine, limit: int, expiry_s: float) -> None:
        self.engine = engine
        self.limit = limit
        self.expiry_s = expiry_s
        self.sessions: dict[str, NamedSession] = {}
        self.held: dict[str, NamedSession] = {}  # by the id of the session that holds it
        self.unswept: list[str] = []
        self.expired_total = 0
        self.taken_over_total = 0

    def restore(self, now: float) -> None:
        """Read back those from before the start; of another epoch there are none.

        Who was held when the run before was cut off is waited for from now on.
        """
        epoch, head = self.engine.epoch(), self.engine.head()
        for name, value in self.engine.states(KIND):
            try:
                kept = json.loads(value)
                offset, expires_s = int(kept["offset"]), float(kept["expires"])
                seen_at = float(kept["seen"]) or now
                is_ours = kept["epoch"] == epoch and offset <= head
                named = NamedSession(name, offset, bool(kept["ack"]), expires_s, seen_at)
                named.known = int(kept["known"])
            except (ValueError, TypeError, KeyError):
                is_ours = False
            if not is_ours:
                self.engine.keep_state(KIND, name, b"")
                continue
            named.given = head  # it may have been, by the process before, and be acknowledged only now
            named.is_moved = False
            self.sessions[name] = named

    def find(self, name: str) -> NamedSession:
        """Return the session of this name. Raises InvalidCommand when there is none."""
        named = self.sessions.get(name)
        if named is None:
            raise InvalidCommand(f"session {name[:80]!r}: there is none of this name (any more)")
        return named

    def claim(
        self,
        name: str,
        holder: Session | None,
        ack: bool | None,
        expires_s: float | None,
        now: float,
        delivered: int,
    ) -> NamedSession:
        """Return a session for `holder`, made if there is none; whoever else held it is ended.

        Who has just claimed it and claims it again, for further filters, begins where it began: what they
        bring from there it has not been given yet. A reader that comes once for each page has no `holder`. A
        new one stands at `delivered`, the last offset of the log.

        Raises:
            InvalidCommand: the name or the time is not one, or the holder has another. LimitExceeded: there
                are too many.
        """
        held = self.held.get(holder.id) if holder is not None else None
        if held is not None and held.name != name:
            raise InvalidCommand(
                f"session {name[:80]!r}: this connection has session {held.name[:80]!r}, and can have one"
            )
        named = self.sessions.get(name)
        former = named.holder if named is not None else None
        if former is not None and former is not holder:
            self.follow_holder(former, delivered)
        check_name(KIND, name)
        if expires_s is not None and not EXPIRY_LEAST_S <= expires_s <= self.expiry_s:
            raise InvalidCommand(
                f"expires {expires_s:g}: a number of seconds from {EXPIRY_LEAST_S:g} to {self.expiry_s:g}"
                " (broker.session_expiry_s)"
            )
        if named is None:
            if len(self.sessions) >= self.limit:
                raise LimitExceeded(f"more named sessions than {self.limit} (broker.named_sessions_limit)")
            named = NamedSession(name, delivered, ack is True, self.expiry_s, now)
            named.is_new = True
            self.sessions[name] = named
        elif former is not None and former is holder:
            if not named.ack and not named.is_new:
                named.offset = min(named.offset, parse_cursor(named.since).offset)
                named.is_moved = True
            return named
        else:
            named.is_new = False
        if ack is not None:
            named.ack = ack
        if expires_s is not None:
            named.expires_s = expires_s
        if former is not None:
            self.taken_over_total += 1
            self.held.pop(former.id, None)
        if holder is not None:
            self.held[holder.id] = named
            named.paged = 0
        named.holder = holder
        named.seen_at = now
        named.is_moved = True
        named.since = self.cursor(named)
        if former is not None:
            former.consumer.taken_over()
        return named

    def hold(self, named: NamedSession, holder: Session) -> None:
        """Let who has claimed it for a page hold it while it waits. What was let go of since is nobody's.

        Raises:
            SessionTakenOver: another has claimed it since.
        """
        if named.holder is not None:
            raise taken_over(named.name)
        if self.sessions.get(named.name) is named:
            named.holder = holder
            named.is_moved = True
            self.held[holder.id] = named

    def cursor(self, named: NamedSession) -> str:
        """Return the cursor of where a session stands."""
        return format_cursor(self.engine.epoch(), named.offset, named.known)

    def begin(self, named: NamedSession, after: int) -> None:
        """Let a new session stand where the first of its subscriptions begins: above offset `after`."""
        if named.is_new and after < named.offset:
            named.offset = after

    def visit(self, named: NamedSession) -> str:
        """Return where a reader that comes once for each page goes on: without acknowledgement, that it comes
        again says that it has had the page before.
        """
        if not named.ack and named.paged > named.offset:
            named.offset = named.paged
            named.is_moved = True
        return self.cursor(named)

    def next_page(self, named: NamedSession) -> str:
        """Return what `visit` does, for who does not come for a page yet."""
        offset = named.offset if named.ack else max(named.offset, named.paged)
        return format_cursor(self.engine.epoch(), offset, named.known)

    def visited(self, named: NamedSession, given: int, known: int) -> None:
        """Note how far a page went, and up to where it told of a loss."""
        named.given = max(named.given, given)
        named.paged = given
        if known > named.known:
            named.known = known
            named.is_moved = True

    def release(self, holder: Session, now: float, delivered: int) -> None:
        """Note that a session is going, which may hold a named one: that goes on where it would resume."""
        named = self.held.pop(holder.id, None)
        if named is not None:
            self._follow(named, holder, delivered)
            named.holder = None
            named.seen_at = now
            named.is_moved = True

    def follow_holder(self, holder: Session, delivered: int) -> None:
        """Note how far a session has come, if it holds a named one."""
        named = self.held.get(holder.id)
        if named is not None and holder.state != CLOSED:
            self._follow(named, holder, delivered)

    def acknowledge(self, named: NamedSession, offset: int) -> int:
        """Move the position up to `offset`, never back; return where it is.

        Raises:
            InvalidCommand: nothing at this offset has been given to who reads under this name.
        """
        if named.holder is not None:
            named.given = max(named.given, named.holder.outbox.taken)
        if offset > named.given:
            raise InvalidCommand(
                f"offset {offset} has not been delivered to session {named.name[:80]!r}: it has had up to"
                f" {named.given}"
            )
        if offset > named.offset:
            named.offset = offset
            named.is_moved = True
        return named.offset

    def remove(self, name: str) -> NamedSession:
        """Let go of one, held or not. Raises InvalidCommand when there is none."""
        named = self.find(name)
        del self.sessions[name]
        if named.holder is not None:
            self.held.pop(named.holder.id, None)
        self.engine.keep_state(KIND, name, b"")
        return named

    def sweep(self, now: float, delivered: int) -> None:
        """Look at some, going on where the last call ended: note how far holders have come, let go of those
        whose time is over, and have the engine keep what has moved.
        """
        if not self.unswept:
            self.unswept = list(self.sessions)
        names = self.unswept[-SWEEP_SESSIONS:]
        del self.unswept[-SWEEP_SESSIONS:]
        for name in names:
            named = self.sessions.get(name)
            if named is None:
                continue
            holder = named.holder
            if holder is not None and holder.state != CLOSED:
                named.seen_at = now
                if holder.filters and len(holder.outbox) <= FOLLOWED_ENTRIES:
                    self._follow(named, holder, delivered)
            elif named.seen_at + named.expires_s <= now:
                self.remove(named.name)
                self.expired_total += 1
                continue
            if named.is_moved:
                named.is_moved = False
                self._keep(named)

    def keep_all(self) -> None:
        """Have the engine keep where all are, as the broker closes."""
        for named in self.sessions.values():
            if named.is_moved:
                self._keep(named)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        return {
            "named_sessions": len(self.sessions),
            "named_sessions_expired": self.expired_total,
            "named_sessions_taken_over": self.taken_over_total,
        }

    def _follow(self, named: NamedSession, holder: Session, delivered: int) -> None:
        """Note how far the holder has been given messages, and without acknowledgement go there."""
        resume_offset = -1  # nothing to resume
        if holder.filters and not holder.is_subscribing:
            resume_offset = holder.resume_offset(delivered)
        named.given = max(named.given, holder.outbox.taken, resume_offset if not named.ack else 0)
        if not named.ack and resume_offset > named.offset:
            named.offset = resume_offset
            named.is_moved = True

    def _keep(self, named: NamedSession) -> None:
        kept = {
            "epoch": self.engine.epoch(),
            "offset": named.offset,
            "known": named.known,
            "ack": named.ack,
            "expires": named.expires_s,
            "seen": 0.0 if named.holder is not None else named.seen_at,
        }
        self.engine.keep_state(KIND, named.name, json.dumps(kept, separators=(",", ":")).encode())


def check_name(kind: str, name: str) -> None:
    """Raise InvalidCommand unless `name` is one: 1 to 128 bytes, printable, and no `/`."""
    size = len(name.encode(errors="surrogatepass"))
    if not 0 < size <= NAME_LIMIT_BYTES or not name.isprintable() or "/" in name:
        raise InvalidCommand(
            f"{kind} {name[:80]!r}: a name of 1 to {NAME_LIMIT_BYTES} printable bytes without '/'"
        )


def taken_over(name: str) -> SessionTakenOver:
    """Return the error that says that a named session has another holder."""
    return SessionTakenOver(f"another has claimed session {name[:80]!r}")
