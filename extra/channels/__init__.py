"""Bounded conduits between the tasks of one process, and from and to its threads. No broker needed.

    channel = Channel[str](100)                     # many producers, many consumers, each item once

    async def produce() -> None:
        with channel:                               # closes it: what is queued is taken first
            for line in lines:
                await channel.put(line)             # waits while 100 are queued

    async def consume() -> None:
        async for line in channel:
            ...

A `Broadcast` gives each item to every `Receiver`, each with a bound and an overflow policy of its own;
`select` waits for the first of several; a `ThreadInlet` puts from other threads, a `ThreadOutlet` takes from
there. All of it works on any asyncio event loop. A call that is cancelled has taken nothing and put nothing.
"""

from extra.channels.broadcast import (
    Broadcast,
    BroadcastStatistics,
    OverflowPolicy,
    Receiver,
    ReceiverStatistics,
)
from extra.channels.channel import Channel, ChannelStatistics
from extra.channels.selection import Selection, select
from extra.channels.source import Source
from extra.channels.threads import ThreadInlet, ThreadOutlet

__all__ = [
    "Broadcast",
    "BroadcastStatistics",
    "Channel",
    "ChannelStatistics",
    "OverflowPolicy",
    "Receiver",
    "ReceiverStatistics",
    "Selection",
    "Source",
    "ThreadInlet",
    "ThreadOutlet",
    "select",
]
