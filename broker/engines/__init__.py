"""Engines of the broker: what keeps a log longer than the process lives."""

from broker.engines.failures import StoreRefused
from broker.engines.sqlite import SQLiteEngine
from broker.engines.store import DURABILITIES

__all__ = ["DURABILITIES", "SQLiteEngine", "StoreRefused"]
