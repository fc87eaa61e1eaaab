"""The engine seam: what keeps the log, and carries messages between nodes.

An engine gives every message its offset and hands it to the node's `Delivery` in offset order, whether it was
published here or came from another node. The broker core never touches a log but through this.
"""

from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from extra.errors import EngineError, ExtraError
from extra.pubsub.ends import End
from extra.pubsub.log import Slice
from extra.pubsub.message import Message
from extra.pubsub.retention import DEFAULT_POLICY, Policy, PolicyTable

__all__ = ["Delivery", "Engine"]

ALL_ALIKE: Final = PolicyTable(DEFAULT_POLICY)


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Delivery(ABC):
    """Who gets the messages of an engine: the broker core."""

    @abstractmethod
    def deliver(self, message: Message) -> int:
        """Take a message that has its place in the log; return to how many subscribers it went.

        Called once per message, in offset order. Never awaits.
        """


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Engine(ABC):
    """Keeps the log and the retained messages.

    Every method may raise EngineUnavailable; then nothing has been changed, or, of `append`, it is not known.
    Who is cancelled while appending leaves when it is decided whether the message has its place, not before:
    its `offset` tells.
    """

    @abstractmethod
    async def start(self, delivery: Delivery) -> None:
        """Open what the engine needs. From here on `delivery` gets every new message."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Idempotent."""

    @abstractmethod
    def epoch(self) -> str:
        """Return the name of the log's present life."""

    @abstractmethod
    def head(self) -> int:
        """Return the offset of the newest message that has been delivered here."""

    @abstractmethod
    async def append(self, message: Message) -> int:
        """Place a message at the end of the log, and retain it if it says so.

        Returns to how many local subscribers it went, as far as that is known on return.

        Raises:
            LimitExceeded: it is to be retained and there is no room. It is not in the log then.
            TopicClosed: the topic has had its last message, and this one does not open it anew. Nor is it.
        """

    def append_at_once(self, message: Message) -> int:
        """Do what `append` does, if that needs no waiting. -1: it does need it, and nothing has been done.

        An engine that always waits has nothing to say here. Raises as `append` does.
        """
        return -1

    async def append_keyed(self, message: Message, key: bytes) -> int:
        """Append a message that was published with an idempotency key; `key` is a digest of it.

        An engine that outlives the process keeps the two in one piece, for `remembered`. Raises as `append`.
        """
        return await self.append(message)

    async def append_if(self, message: Message, key: bytes, if_last: int) -> int:
        """Append a message, with its key or an empty one, if its topic's last message has offset `if_last`.

        Decided when the message would get its place: of several that name the same offset, one gets it.
        Raises as `append` does, and:

            PreconditionFailed: another is the last one. Nothing has been appended.
        """
        raise EngineError(f"{type(self).__name__} cannot publish on a condition")

    def end(self, topic: str) -> End | None:
        """Return where a topic has ended, None when it has not."""
        return None

    async def append_forgetting(self, message: Message, key: bytes, kind: str, name: str) -> int:
        """Append a message, with its key or an empty one, and let go of a state in one piece with that.

        Raises as `append`. An engine that outlives the process overrides this: what is written is both or
        neither.
        """
        subscribers = await (self.append_keyed(message, key) if key else self.append(message))
        self.keep_state(kind, name, b"")
        return subscribers

    def last_offset(self, topic: str) -> int:
        """Return the offset of the last message that was delivered on a topic, 0 when none is known.

        It counts whether the log still has it or not.
        """
        return 0

    async def append_many(self, messages: list[Message], keys: list[bytes]) -> list[int | ExtraError]:
        """Append several messages in this order, each with its key; an empty one is none.

        Returns for each what `append` returns or raises: that one fails keeps no other out. An engine that
        writes in batches waits for the last of them, not for each.
        """
        answers: list[int | ExtraError] = []
        for message, key in zip(messages, keys, strict=True):
            try:
                answers.append(await (self.append_keyed(message, key) if key else self.append(message)))
            except ExtraError as error:
                answers.append(error)
        return answers

    def remembered(self) -> list[tuple[bytes, int, float]]:
        """Return the keys from before the start: digest, offset, and when, as a monotonic time; oldest first.

        Only those that still count. An engine that is gone with the process has none.
        """
        return []

    def keep_state(  # noqa: B027 - an engine that is gone with the process has nothing to do
        self, kind: str, name: str, value: bytes
    ) -> None:
        """Keep a small state beside the log: where a group or a named session stands, what is scheduled.

        The newest value of each kind and name counts, and goes into the file with the next batch; an empty
        one lets go of it. Never waits. What has not been written when the process ends is as it was before:
        `settled` waits for it. Who keeps bounds the number of names of a kind, and the size of values.

        Raises:
            InvalidCommand: the name cannot be written as UTF-8.
        """

    def states(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the names and values of a kind from before the start, in the order of the names.

        To be asked once, after the start: the engine lets go of them.
        """
        return []

    async def settled(self) -> None:  # noqa: B027 - nor to wait for
        """Wait until everything that was handed to `keep_state` is as safe as a message with a receipt.

        Raises:
            EngineUnavailable: it cannot be written just now. It stays to be written.
        """

    def policies(self) -> PolicyTable:
        """Return what topics keep and may carry."""
        return ALL_ALIKE

    def policy(self, topic: str) -> Policy:
        """Return what one topic keeps and may carry."""
        return ALL_ALIKE.default

    def set_policies(self, policies: PolicyTable) -> None:  # noqa: B027 - an engine may have none
        """Put other policies in place of those that there are. What is more than they keep goes by and by.

        Nobody reads what has become too old by them; the rest goes as `sweep` comes to it.
        """

    def trouble(self) -> str:
        """Return what keeps the log from being written just now, for people; empty when nothing does."""
        return ""

    @abstractmethod
    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        """Read what matches any of `filters`, above offset `after` and up to `until`: see `Log.read`."""

    @abstractmethod
    async def before_last(self, filters: list[str], count: int) -> int:
        """Return the offset after which the last `count` matching messages lie."""

    @abstractmethod
    async def retained(self, filters: list[str]) -> list[Message]:
        """Return what is retained on matching topics, in offset order."""

    @abstractmethod
    async def clear(self, topic: str) -> bool:
        """Let go of what a topic retains; return whether there was anything."""

    @abstractmethod
    def sweep(self) -> None:
        """Give back what has become too old. Called every second; bounded work."""

    @abstractmethod
    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name; sizes are in bytes."""
