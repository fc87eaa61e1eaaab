"""The Python client: a broker at a distance, with the names of the one in process.

    async with Client("http://127.0.0.1:8080") as broker: ...

Code that is not async publishes with `extra.client.blocking`.
"""

from extra.client.client import Client

__all__ = ["Client"]
