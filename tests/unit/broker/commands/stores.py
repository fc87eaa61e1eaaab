"""A store with a little of everything in it, for the commands that work on stores."""

import sqlite3
from contextlib import closing
from pathlib import Path

from broker.engines.batch import Batch, Placed
from broker.engines.store import Store
from extra.payloads import PayloadKind
from extra.pubsub import Message
from extra.pubsub.journal import Journal

__all__ = ["EPOCH", "TIME", "contents", "fill", "make_store"]

EPOCH = "e1"
TIME = 1_900_000_000.0


def make_store(path: Path) -> Path:
    """Make a store at `path`: topics `a`, `b` (which has lost offset 2) and `c` (which retains offset 1).

    Beside the log it keeps a group `g`.
    """
    store = Store(str(path))
    store.open(EPOCH)
    store.begin()
    fill(store)
    store.close()
    return path


def fill(store: Store) -> None:
    """Write the messages of `make_store`, and evict some."""
    messages: list[tuple[str, bytes, PayloadKind, bool]] = [
        ("c", b'{"kept":\n true}', "json", True),
        ("b", b"lost", "text", False),
        ("a", "grüße\n".encode(), "text", False),
        ("a", b'{"n": 1e400}', "json", False),
        ("b", b"\x00\xff", "binary", False),
    ]
    store.write(
        Batch(
            len(messages),
            [
                Placed(
                    Message(
                        topic,
                        payload,
                        kind,
                        headers={"n": "v"} if kind == "text" else None,
                        retained=retained,
                    ),
                    offset,
                    0.0,
                    TIME + offset,
                )
                for offset, (topic, payload, kind, retained) in enumerate(messages, 1)
            ],
        )
    )
    gone = Journal()
    gone.evicted = [1, 2]
    gone.losses = {"c": 1, "b": 2}
    late = Message("d", b"1", "json", content_type="application/x+json", expires_at=TIME + 1e6)
    states = {("group", "g"): b"state"}
    store.write(Batch(7, [Placed(late, 7, 0.0, TIME)], gone, forgotten_until=6, states=states))


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return what is in a store, by table, as rows that can be compared; checksums are left out."""
    with closing(sqlite3.connect(path)) as connection:
        columns = "time, expires_at, kind, content_type, headers, retained, payload"
        return {
            "store": connection.execute("SELECT epoch, head, forgotten_until FROM store").fetchall(),
            "topics": connection.execute(
                "SELECT name, evicted_until FROM topics WHERE evicted_until > 0 ORDER BY name"
            ).fetchall(),
            "messages": connection.execute(
                f"SELECT offset, name, {columns} FROM messages JOIN topics ON id = topic_id ORDER BY offset"
            ).fetchall(),
            "retained": connection.execute(
                f"SELECT offset, topic, {columns} FROM retained ORDER BY offset"
            ).fetchall(),
        }
