"""Reading a store back into memory, all of it, when a broker starts.

**Clocks.** A message ages by the monotonic clock, which does not outlive the machine's uptime: its age is
taken from the wall clock, once. A message from the future (the clock was set back since) counts as new, and
none counts as younger than one before it, so that messages are kept too long rather than too short.
"""

import gc
import logging
import sqlite3
from sqlite3 import Connection
from time import perf_counter
from typing import Final

from broker.engines.failures import is_damage
from broker.engines.records import (
    MESSAGE_COLUMNS,
    RETAINED_COLUMNS,
    Row,
    damage_of,
    message_of,
    state_damage,
    topic_checksum,
)
from broker.engines.states import States
from broker.engines.store import Store
from extra.pubsub import Log, Message, RetainedMessages

__all__ = ["restore", "restore_keys", "restore_states"]

logger: Final = logging.getLogger("broker.store")

TOLD_AT_MESSAGES: Final = 250_000
"""So often it is told how far reading back has come."""


def restore(store: Store, log: Log, kept: RetainedMessages, now: float, time: float) -> None:
    """Fill an empty log and empty retained messages with what a store holds.

    What the limits no longer allow is evicted on the way; the journals note it.

    Raises:
        StoreRefused: something is not as it was written. Log and retained messages are of no use then.
        sqlite3.Error: the file cannot be read.
    """
    begun = perf_counter()
    was_collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage: 4.3 s of processor time for a million messages instead of 5.3 s
    try:
        _restore(store, log, kept, now, time)
    except sqlite3.Error as error:
        if is_damage(error):
            raise store.damaged(str(error)) from None
        raise
    finally:
        if was_collecting:
            gc.enable()
    logger.info(
        "%s holds %d messages on %d topics and %d retained ones, up to offset %d: read in %.1f s",
        store.path,
        len(log),
        len(log.topics),
        len(kept),
        log.head,
        perf_counter() - begun,
    )


def restore_keys(
    store: Store, now: float, time: float, window_s: float, limit: int
) -> list[tuple[bytes, int, float]]:
    """Return the idempotency keys that still count: digest, offset, and when, as a monotonic time; oldest
    first.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    rows = store.connection.execute(
        "SELECT offset, digest, time FROM keys WHERE time > ? ORDER BY offset DESC LIMIT ?",
        (time - window_s, limit),
    ).fetchall()
    return [(digest, offset, now - max(0.0, time - at)) for offset, digest, at in reversed(rows)]


def restore_states(store: Store, states: States) -> None:
    """Read back the states that are kept beside the log.

    Raises:
        StoreRefused: one is not as it was written.
        sqlite3.Error: the file cannot be read.
    """
    if not store.has_states():
        return
    for kind, name, value, checksum in store.connection.execute(
        "SELECT kind, name, value, checksum FROM states"
    ):
        damage = state_damage(kind, name, value, checksum)
        if damage:
            raise store.damaged(damage)
        states.restore(kind, name, value)


def _restore(store: Store, log: Log, kept: RetainedMessages, now: float, time: float) -> None:
    connection = store.connection
    names = _restore_topics(store, log, time)
    retained = _read_retained(store, connection)
    total = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
    if total >= TOLD_AT_MESSAGES:
        logger.info("%s: reading %d messages", store.path, total)
    appended_at = 0.0
    rows = connection.execute(f"SELECT {MESSAGE_COLUMNS} FROM messages ORDER BY offset")
    for count, row in enumerate(rows, 1):
        damage = damage_of(row)
        topic = names.get(row[1])
        offset = row[0]
        if damage or topic is None or offset > store.head:
            raise store.damaged(damage or f"the message at offset {offset} is of no topic, or above the head")
        appended_at = max(appended_at, _appended_at(row, now, time))
        message = retained[offset] if offset in retained else message_of(row, topic)
        log.restore(message, offset, appended_at, row[2], now, time)
        if count % TOLD_AT_MESSAGES == 0:
            logger.info("%s: read %d of %d messages", store.path, count, total)
    log.restore_head(store.head, store.forgotten_until)
    for offset, message in retained.items():
        if message.offset == 0:  # not in the log any more
            message.place(store.epoch, offset, now, message.time)
        kept.put(message)
        if message.close is True:
            log.restore_end(message.topic, offset)


def _restore_topics(store: Store, log: Log, time: float) -> dict[int, str]:
    """Make the log know the topics; return their names by number."""
    names: dict[int, str] = {}
    rows = store.connection.execute(
        "SELECT id, name, evicted_until, checksum FROM topics ORDER BY evicted_until, id"
    )
    for number, name, evicted_until, checksum in rows:
        is_sound = (
            isinstance(name, str) and isinstance(evicted_until, int) and 0 <= evicted_until <= store.head
        )
        is_sound = is_sound and topic_checksum(number, name, evicted_until) == checksum
        if not is_sound or name in log.topics:
            raise store.damaged(f"topic number {number} is not what was written")
        names[number] = name
        log.restore_topic(name, evicted_until, time)
    store.know_topics(names)
    return names


def _read_retained(store: Store, connection: Connection) -> dict[int, Message]:
    """Return the retained messages by offset, without their place, but with their time."""
    retained: dict[int, Message] = {}
    for row in connection.execute(f"SELECT {RETAINED_COLUMNS} FROM retained ORDER BY offset"):
        damage = damage_of(row)
        if damage or row[0] > store.head:
            raise store.damaged(damage or f"the retained message at offset {row[0]} is above the head")
        message = message_of(row, row[1])
        message.time = row[2]
        retained[row[0]] = message
    return retained


def _appended_at(row: Row, now: float, time: float) -> float:
    age_s: float = time - row[2]
    return now - max(0.0, age_s)
