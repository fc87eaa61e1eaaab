"""A process of subscribers: connects them all, reads what comes, and checks it.

    python -m loadtest.generator.subscribers PLAN

One loop over epoll without an event loop around it, and one buffer for all, since this has to read as fast
as the server writes, on one core of the same machine. It looks for what has come every half millisecond
rather than be woken for it (`loadtest.generator.looking`). PLAN is JSON (`Plan`). A line goes out when all
subscriptions are open. Then it answers each command, a line of JSON on standard input:

    {"do": "expect", "count": 500}    wait until everybody has 500 messages; what was measured since then
    {"do": "told"}                    let those read that have not, and say what they were told
    {"do": "finish"}                  listen a moment longer: nothing more must come

A line `{"error": ...}` ends it: a message was lost, doubled or reordered, or a connection closed.
"""

import json
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from loadtest.generator.checks import Mismatch, Transcript
from loadtest.generator.dialects import DIALECTS
from loadtest.generator.looking import look
from loadtest.generator.plan import Plan
from loadtest.generator.readers import Follower, Owner, Stalled, Subscriber

__all__ = ["Subscribers"]

BUFFER_BYTES: Final = 256 * 1024
CONNECTIONS_PER_ADDRESS: Final = 20_000
OPENING_LIMIT_S: Final = 60.0
QUIET_LIMIT_S: Final = 10.0
EXCESS_S: Final = 0.1
REST_SHARE: Final = 0.5
"""Rests half as long as it has read: so it takes two thirds of its core at most, and reads more at a time."""
ETHERNET_SEGMENT_BYTES: Final = 1448


class Subscribers:
    """All subscribers of this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.epoll = select.epoll()
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self.opening: dict[int, Subscriber] = {}
        self.open: dict[int, Subscriber] = {}
        self.stalled: list[Stalled] = []
        self.followers: list[Follower] = []
        self.owners: list[Owner] = []
        self.deliveries = 0
        self.reads = 0
        self.expected = 0
        self.rest_s = 0.0

    def planned(self) -> Iterator[Subscriber]:
        """Make the subscribers, group by group."""
        dialect = DIALECTS[self.plan.dialect]
        for group in self.plan.groups:
            transcript = Transcript(self.plan.first, dialect.ping)
            every = max(1, group.count // group.probes) if group.probes else 0
            for number in range(group.count):
                if group.is_stalled:
                    stalled = Stalled(f"stalled subscriber {number}", dialect, group, number)
                    keep_small(stalled.socket, self.plan.receive_buffer_bytes)
                    self.stalled.append(stalled)
                    yield stalled
                    continue
                if group.is_shared:
                    follower = Follower(f"subscriber {number}", dialect, group, number, transcript)
                    self.followers.append(follower)
                    subscriber: Subscriber = follower
                else:
                    owner = Owner(f"subscriber {number}", dialect, group, number, self.plan)
                    self.owners.append(owner)
                    subscriber = owner
                if every and number % every == 0:
                    subscriber.delays = []
                yield subscriber

    def open_all(self) -> None:
        """Connect and subscribe, `window` at a time. Raises Mismatch when that takes too long."""
        deadline = time.monotonic() + OPENING_LIMIT_S
        for count, subscriber in enumerate(self.planned()):
            self.connect(subscriber, f"127.0.0.{1 + count // CONNECTIONS_PER_ADDRESS}")
            while len(self.opening) >= self.plan.window:
                self.turn(1.0, deadline)
        while self.opening:
            self.turn(1.0, deadline)

    def connect(self, subscriber: Subscriber, address: str) -> None:
        if address != "127.0.0.1":
            subscriber.socket.bind((address, 0))
        subscriber.socket.connect_ex(("127.0.0.1", self.plan.port))
        descriptor = subscriber.socket.fileno()
        self.opening[descriptor] = subscriber
        self.epoll.register(descriptor, select.EPOLLOUT)

    def turn(self, wait_s: float, deadline: float) -> None:
        """Read from everybody who has something; with `wait_s` 0 without being woken for it.

        Raises:
            Mismatch: the deadline is over.
        """
        view, is_open = self.view, self.open
        if wait_s:
            events = self.epoll.poll(wait_s)
        else:
            time.sleep(self.rest_s)
            events = look(self.epoll, deadline)
        begun = time.monotonic()
        self.reads += len(events)
        for descriptor, event in events:
            subscriber = is_open.get(descriptor)
            if subscriber is not None:
                size = subscriber.socket.recv_into(view)
                if not size:
                    raise Mismatch(f"{subscriber.name} was disconnected{subscriber.last_words()}")
                subscriber.receive(view[:size])
            elif descriptor:
                self.take_opening(descriptor, event)
        ended = time.monotonic()
        self.rest_s = (ended - begun) * REST_SHARE
        if ended > deadline:
            raise Mismatch(self.missing())

    def take_opening(self, descriptor: int, event: int) -> None:
        subscriber = self.opening[descriptor]
        if event == select.EPOLLOUT:
            subscriber.send_step()
            self.epoll.modify(descriptor, select.EPOLLIN)
            return
        size = subscriber.socket.recv_into(self.buffer)
        if not size:
            raise Mismatch(f"{subscriber.name} was disconnected while it subscribed")
        if subscriber.open(self.view[:size]):
            del self.opening[descriptor]
            if subscriber.is_stalled:
                self.epoll.unregister(descriptor)
            else:
                self.open[descriptor] = subscriber

    def missing(self) -> str:
        """Say who waits for what."""
        if self.opening:
            waiting = next(iter(self.opening.values()))
            return (
                f"{len(self.opening)} are not subscribed, {waiting.name} waits behind {waiting.begun[:200]!r}"
            )
        for follower in self.followers:
            if (number := follower.arrived()) < self.expected:
                return f"{follower.name} waits for message {self.plan.first + number}: lost"
        for owner in self.owners:
            if (number := owner.arrived()) < owner.share(self.expected):
                return f"{owner.name} waits for message {owner.sequence.expected[number]}: lost"
        return "nobody waits for anything"

    def expect(self, count: int) -> dict[str, Any]:
        """Read until everybody who follows has `count` messages, and owners theirs."""
        self.expected = count
        before = resource.getrusage(resource.RUSAGE_SELF)
        started, reads = time.monotonic(), self.reads
        progress, look_at, deadline = -1, 0.0, started + QUIET_LIMIT_S
        while not self.has_all(count):
            self.turn(0, deadline)
            if (now := time.monotonic()) > look_at:
                look_at = now + 1
                if (arrived := self.progress()) != progress:
                    progress, deadline = arrived, now + QUIET_LIMIT_S
        ended = time.monotonic()
        after = resource.getrusage(resource.RUSAGE_SELF)
        deliveries = count * len(self.followers) + sum(owner.arrived() for owner in self.owners)
        new, self.deliveries = deliveries - self.deliveries, deliveries
        return {
            "deliveries": new,
            "reads": self.reads - reads,
            "ended": ended,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "delays_us": self.take_delays(),
        }

    def progress(self) -> int:
        """Return a figure that changes whenever the last of those who follow gets something."""
        return sum(each.position for each in self.followers) + sum(each.arrived() for each in self.owners)

    def has_all(self, count: int) -> bool:
        for follower in self.followers:
            ends = follower.transcript.ends
            if len(ends) < count or (count and follower.position < ends[count - 1]):
                return False
        return all(owner.arrived() >= owner.share(count) for owner in self.owners)

    def take_delays(self) -> list[int]:
        """Return the latencies since the last time, in microseconds."""
        delays: list[int] = []
        for each in (*self.followers, *self.owners):
            if each.delays:
                delays += [int(1e6 * delay) for delay in each.delays]
                each.delays = []
        return delays

    def told(self) -> dict[str, Any]:
        """Let those read that have not, until nothing more comes, and add up what they were told."""
        self.drain()
        return {
            "received": sum(each.received for each in self.stalled),
            "dropped": sum(each.dropped for each in self.stalled),
            "gaps": sum(each.gaps for each in self.stalled),
            "goodbyes": sum(each.goodbyes for each in self.stalled),
            "silent": [each.name for each in self.stalled if not each.gaps and not each.goodbyes],
        }

    def drain(self) -> None:
        """Read from those that are stalled until they have the last message, or their goodbye, or the end."""
        reading = select.epoll()
        left = {each.socket.fileno(): each for each in self.stalled}
        for descriptor in left:
            reading.register(descriptor, select.EPOLLIN)
        while left and (events := reading.poll(QUIET_LIMIT_S)):
            for descriptor, _ in events:
                try:
                    size = left[descriptor].socket.recv_into(self.view)
                except ConnectionResetError:
                    size = 0
                if size:
                    left[descriptor].receive(self.view[:size])
                if not size or left[descriptor].has_all(self.expected):
                    reading.unregister(descriptor)
                    del left[descriptor]

    def finish(self) -> dict[str, Any]:
        """Listen a moment longer. Raises Mismatch when anything comes that is no ping."""
        before = self.progress()
        deadline = time.monotonic() + EXCESS_S
        while (left := deadline - time.monotonic()) > 0:
            self.turn(left, deadline + QUIET_LIMIT_S)
        if self.progress() != before:
            raise Mismatch("more came than was published")
        return {"ok": True}

    def serve(self) -> None:
        """Open all, then do as told, reading all the while."""
        started = time.monotonic()
        self.open_all()
        say({"ready": len(self.open) + len(self.stalled), "started": started})
        self.epoll.register(0, select.EPOLLIN)
        pending = select.poll()
        pending.register(0, select.POLLIN)
        while True:
            while not pending.poll(0):
                self.turn(1.0, float("inf"))
            line = sys.stdin.readline()  # one line each: the other side waits for the answer
            if not line:
                return
            command = json.loads(line)
            self.epoll.unregister(0)  # or a loop that waits for messages would spin on the next command
            if command["do"] == "expect":
                say(self.expect(command["count"]))
            else:
                say({"told": self.told, "finish": self.finish}[command["do"]]())
            self.epoll.register(0, select.EPOLLIN)


def keep_small(connection: socket.socket, receive_buffer_bytes: int) -> None:
    """Let the kernel keep little of what comes: less than it would on loopback, as much as over a network.

    The segments of loopback are 64 KiB, for which Linux gives the sender a buffer of nearly 4 MiB.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_SEGMENT_BYTES)


def say(answer: dict[str, Any]) -> None:
    """Write a line of JSON at once."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve the plan on the command line."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        Subscribers(Plan.from_json(sys.argv[1])).serve()
    except (Mismatch, OSError) as error:
        say({"error": str(error)})


if __name__ == "__main__":
    main()
