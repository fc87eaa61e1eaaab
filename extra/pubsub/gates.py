"""Gates: who may publish and subscribe at the faces of a broker.

A face asks the gates of its broker before it does what a client wants; what the program itself does with the
broker passes by them. With several, all have to allow it. Where there is none, asking costs a look at an
empty list.
"""

from abc import ABC, abstractmethod

from extra.pubsub.message import Message

__all__ = ["Gate", "admit_filters", "admit_message", "guard_publishing"]


class Gate(ABC):
    """Decides for some topics and filters. `origin` is the request of who asks, as its face has it.

    What is refused raises an ExtraError: `Forbidden`, as a rule.
    """

    @abstractmethod
    def guards(self, topic: str) -> bool:
        """Return whether `publishing` has to be asked for messages on `topic`. Quick."""

    @abstractmethod
    async def publishing(self, message: Message, origin: object) -> Message:
        """Return what is to be published in place of `message`, on the same topic; itself, as a rule."""

    @abstractmethod
    async def subscribing(self, topic_filter: str, origin: object) -> list[str]:
        """Return the filters that are to be subscribed to in place of this one; itself, as a rule."""


def guard_publishing(gates: list[Gate], topic: str) -> bool:
    """Return whether any gate has to be asked for messages on `topic`."""
    return any(gate.guards(topic) for gate in gates)


async def admit_message(gates: list[Gate], message: Message, origin: object) -> Message:
    """Return what is to be published in place of `message`. Raises what a gate refuses it with."""
    for gate in list(gates):
        if gate.guards(message.topic):
            message = await gate.publishing(message, origin)
    return message


async def admit_filters(gates: list[Gate], filters: list[str], origin: object) -> list[str]:
    """Return what is to be subscribed to in place of `filters`. Raises what a gate refuses one with."""
    for gate in list(gates):
        admitted: list[str] = []
        for topic_filter in filters:
            admitted += await gate.subscribing(topic_filter, origin)
        filters = list(dict.fromkeys(admitted))
    return filters
