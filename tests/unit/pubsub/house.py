"""A broker on an engine that can be held up, to test its parts with."""

from extra.pubsub import (
    Broker,
    BrokerLimits,
    MemoryEngine,
    Page,
    Policy,
    PolicyTable,
    Replay,
    Session,
    parse_since,
)
from tests.fakes.clock import FakeClock
from tests.unit.pubsub.material import GatedEngine, Listener, a_message, take_all

__all__ = ["SIZE", "TIGHT", "House", "offsets"]

SIZE = a_message("a").size
TIGHT = BrokerLimits(outbox_limit_bytes=8 * SIZE)
"""An outbox holds eight messages; a step of catching up brings two."""


class House:
    """A broker on a gated engine, and the clock that both go by."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        limits: BrokerLimits | None = None,
        epoch: str = "e1",
        entries: list[tuple[str, Policy]] | None = None,
    ) -> None:
        self.clock = FakeClock()
        table = PolicyTable(policy or Policy(messages=1000), entries)
        self.engine = GatedEngine(MemoryEngine(table, clock=self.clock, epoch=epoch))
        self.broker = Broker(self.engine, limits=limits, clock=self.clock)

    async def __aenter__(self) -> "House":
        await self.broker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()

    async def publish(self, *topics: str, retain: bool = False) -> None:
        for topic in topics:
            await self.broker.publish(topic, b"", retain=retain)

    def open_session(self, overflow: str = "disconnect") -> tuple[Session, Listener]:
        listener = Listener()
        return self.broker.open_session(listener, overflow=overflow), listener

    async def add(
        self,
        session: Session,
        *filters: str,
        since: str = "now",
        retained: bool | None = None,
        replay_all: bool = False,
    ) -> Replay:
        return await self.broker.add_filters(
            session, list(filters), parse_since(since), retained=retained, replay_all=replay_all
        )

    async def receive(self, session: Session) -> list[str]:
        """Catch up, emptying the outbox at each step."""
        taken = take_all(session.outbox)
        while not session.is_live():
            await self.broker.advance(session)
            taken += take_all(session.outbox)
        return taken

    async def history(self, *filters: str, since: str = "start", limit: int = 1000) -> list[int]:
        return offsets(await self.broker.history(*filters, since=since, limit=limit))


def offsets(page: Page) -> list[int]:
    return [message.offset for message in page.messages]
