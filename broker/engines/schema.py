"""What a store looks like inside: its tables, how they are told from those of another program, and
statements.

| Table | A row is |
| --- | --- |
| `store` | the store itself, in one row: epoch, `HEAD`, what is lost to every filter, and how it was left |
| `topics` | a topic that the log knows, by a number of its own, with the highest offset that it has lost |
| `messages` | a message of the log; `topic_id` is a row of `topics` |
| `retained` | a retained message, with the name of its topic: it may outlive what the log knows of that |
| `keys` | the idempotency key of the message with that offset |
| `states` | what is kept beside the log, by kind and name: see `Engine.keep_state` |
| `scratch` | empty: what is written to see whether anything can be |
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from broker.engines.records import MESSAGE_COLUMNS, RETAINED_COLUMNS, Value

__all__ = [
    "APPLICATION_ID",
    "DELETE_MESSAGES",
    "DELETE_RANGE",
    "DELETE_RETAINED",
    "DELETE_RETAINED_OF",
    "DELETE_STATE",
    "DELETE_TOPICS",
    "HEAD_LAG",
    "PUT_KEYS",
    "PUT_MESSAGES",
    "PUT_RETAINED",
    "PUT_STATES",
    "PUT_TOPICS",
    "TABLES",
    "UPDATE_STORE",
    "UPGRADES",
    "VERSION",
    "ManyRows",
    "Statement",
    "head_of",
]

APPLICATION_ID: Final = 0x45585452
"""Stands in the header of the file, so that `file` and we know whose it is: "EXTR"."""

VERSION: Final = 3
"""The version of what is described here, in the header as `user_version`: 2 has states, 3 has `HEAD`."""

HEAD_LAG: Final = 256
"""The row `store` is at most so many offsets behind the head."""

HEAD: Final = f"max(head, min(head + {HEAD_LAG}, (SELECT ifnull(max(offset), 0) FROM messages)))"
"""The head, from the row `store`: that, or the last message behind it.

So a message that is kept says itself how far the head has come, and a batch of nothing else does not write a
second page to say so.
"""

_MESSAGE: Final = """
    time REAL NOT NULL,
    expires_at REAL NOT NULL,
    kind TEXT NOT NULL,
    content_type TEXT,
    headers TEXT,
    retained INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB NOT NULL
"""

_STATES: Final = """CREATE TABLE states (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
)"""

TABLES: Final = (
    """CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch TEXT NOT NULL,
        head INTEGER NOT NULL DEFAULT 0,
        forgotten_until INTEGER NOT NULL DEFAULT 0,
        reserved_until INTEGER NOT NULL DEFAULT 0,
        is_open INTEGER NOT NULL DEFAULT 0,
        durability TEXT NOT NULL DEFAULT 'full',
        boot TEXT NOT NULL DEFAULT ''
    )""",
    """CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        evicted_until INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    )""",
    f"CREATE TABLE messages (offset INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, {_MESSAGE})",
    f"CREATE TABLE retained (offset INTEGER PRIMARY KEY, topic TEXT NOT NULL, {_MESSAGE})",
    "CREATE INDEX retained_topics ON retained (topic)",
    "CREATE TABLE keys (offset INTEGER PRIMARY KEY, digest BLOB NOT NULL, time REAL NOT NULL)",
    "CREATE TABLE scratch (id INTEGER PRIMARY KEY, filler BLOB NOT NULL)",
    _STATES,
)

UPGRADES: Final[dict[int, tuple[str, ...]]] = {1: (_STATES,), 2: ()}
"""What makes a file of a version one of the next."""

STEPS: Final = (64, 8, 1)
"""So many rows go into one statement, as many as there are first.

Not `executemany`, which lets go of the interpreter's lock and takes it back for every row: beside an event
loop that is busy, the writer then gets on by one row per switch. 4,400 rows of 200 bytes a second against
141,000, and 302,000 against 355,000 beside one that is idle (batches of 1,000, Python 3.11, SQLite 3.40,
2 cores). Not more rows, because SQLite before 3.32 takes 999 parameters.
"""


Statement: TypeAlias = tuple[str, Sequence[Value]]
"""A statement with the values of its parameters."""


def head_of(version: int) -> str:
    """Return what the head is in a file of this version: until 2 it was written with every batch.

    A message above that one is damage.
    """
    return HEAD if version > 2 else "head"


class ManyRows:
    """A statement in which a part stands once for each row, and the statements for so many rows."""

    def __init__(self, before: str, columns: int, after: str = "", *, row: str = "") -> None:
        """`columns` is how many values a row has; `row` is how one is written, by default `(?,?,..)`."""
        row = row or f"({','.join('?' * columns)})"
        self.columns = columns
        self._statements = [(step, before + ",".join([row] * step) + after) for step in STEPS]

    def of(self, values: Sequence[Value]) -> list[Statement]:
        """Return what does it for the rows that `values` holds, one behind the other."""
        statements: list[Statement] = []
        if not values:
            return statements
        start = 0
        for step, statement in self._statements:
            width = step * self.columns
            while len(values) - start >= width:
                statements.append((statement, values[start : start + width]))
                start += width
        return statements


PUT_TOPICS: Final = ManyRows(
    "INSERT INTO topics (id, name, evicted_until, checksum) VALUES ",
    4,
    " ON CONFLICT (id) DO UPDATE SET evicted_until = excluded.evicted_until, checksum = excluded.checksum",
)
PUT_MESSAGES: Final = ManyRows(f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES ", 10)
PUT_RETAINED: Final = ManyRows(f"INSERT OR REPLACE INTO retained ({RETAINED_COLUMNS}) VALUES ", 10)
PUT_STATES: Final = ManyRows(
    "INSERT INTO states (kind, name, value, checksum) VALUES ",
    4,
    " ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, checksum = excluded.checksum",
)
PUT_KEYS: Final = ManyRows("INSERT INTO keys (offset, digest, time) VALUES ", 3)

DELETE_TOPICS: Final = ManyRows("DELETE FROM topics WHERE id IN (", 1, ")", row="?")
DELETE_MESSAGES: Final = ManyRows("DELETE FROM messages WHERE offset IN (", 1, ")", row="?")
DELETE_RETAINED: Final = ManyRows("DELETE FROM retained WHERE offset IN (", 1, ")", row="?")

UPDATE_STORE: Final = "UPDATE store SET head = ?, forgotten_until = ?, reserved_until = ?"

DELETE_STATE: Final = "DELETE FROM states WHERE kind = ? AND name = ?"
DELETE_RETAINED_OF: Final = "DELETE FROM retained WHERE topic = ? AND offset <= ?"
DELETE_RANGE: Final = "DELETE FROM messages WHERE offset BETWEEN ? AND ?"
