"""Statements for many rows, and the tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from broker.engines import schema
from broker.engines.connecting import execute
from broker.engines.records import Value
from broker.engines.schema import STEPS, TABLES, ManyRows

VARIABLES_LIMIT = 999
"""What SQLite takes before 3.32."""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table in TABLES:
            connection.execute(table)
        yield connection


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 200])
def test_any_number_of_rows_is_put_and_deleted(connection: sqlite3.Connection, count: int) -> None:
    values: list[Value] = [
        value for offset in range(count) for value in (offset, b"k%d" % offset, offset + 0.5)
    ]
    execute(connection, schema.PUT_KEYS.of(values))
    rows = connection.execute("SELECT offset, digest, time FROM keys ORDER BY offset").fetchall()
    assert [value for row in rows for value in row] == values
    delete = ManyRows("DELETE FROM keys WHERE offset IN (", 1, ")", row="?")
    execute(connection, delete.of(list(range(1, count))))
    assert connection.execute("SELECT count(*) FROM keys").fetchone()[0] == min(count, 1)


def test_a_topic_that_is_put_again_is_changed(connection: sqlite3.Connection) -> None:
    execute(connection, schema.PUT_TOPICS.of([1, "a", 0, 10, 2, "b", 0, 20]))
    execute(connection, schema.PUT_TOPICS.of([2, "b", 7, 30]))
    assert connection.execute("SELECT * FROM topics").fetchall() == [(1, "a", 0, 10), (2, "b", 7, 30)]


def test_every_statement_fits_any_sqlite(connection: sqlite3.Connection) -> None:
    statements = [value for value in vars(schema).values() if isinstance(value, ManyRows)]
    assert len(statements) == 8
    for many in statements:
        assert many.columns * max(STEPS) <= VARIABLES_LIMIT
        assert many.of([]) == []
