"""One WebSocket connection to a broker: pushes come out, frames of commands go in."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from extra.client.address import Address
from extra.client.problems import error_from_answer
from extra.errors import BrokerClosed, RemoteProtocolError
from extra.protocols.commands import Command
from extra.protocols.encoding import encode_json, encode_msgpack
from extra.protocols.pushes import Push, Welcome, decode_pushes_json, decode_pushes_msgpack

__all__ = ["CODECS", "Codec", "Link", "LinkSettings"]

COMMANDS_PER_FRAME = 500
BYTES_PER_FRAME = 256 * 1024
"""Commands are put together up to so much; the broker's own limits are 1,000 and 2 MiB."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write commands and read pushes. A broker that speaks it agrees to one of `subprotocols`."""

    subprotocols: tuple[str | None, ...]
    is_text: bool
    encode: Callable[[Command], bytes]
    join: Callable[[Sequence[bytes]], bytes]
    decode: Callable[[bytes], list[Push]]

    def frames(self, commands: Sequence[bytes]) -> list[bytes]:
        """Return as few frames as hold these commands in order."""
        frames = []
        batch: list[bytes] = []
        size = 0
        for command in commands:
            if batch and (size + len(command) > BYTES_PER_FRAME or len(batch) == COMMANDS_PER_FRAME):
                frames.append(self.join(batch))
                batch, size = [], 0
            batch.append(command)
            size += len(command)
        if batch:
            frames.append(self.join(batch))
        return frames


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What every connection of a client has in common. Times are in seconds."""

    codec: Codec
    connect_timeout_s: float
    close_timeout_s: float
    ping_interval_s: float
    ping_timeout_s: float
    frame_limit_bytes: int
    headers: Mapping[str, str]
    ssl_context: ssl.SSLContext | None


class Link:
    """An open connection that has been welcomed. One task receives and one sends.

    When it is over, `ending` says how in words, and `close_code` is what the broker closed it with, if it
    did.
    """

    def __init__(self, connection: ClientConnection, codec: Codec, welcome: Welcome) -> None:
        self._connection = connection
        self.codec = codec
        self.welcome = welcome
        self.close_code: int | None = None
        self.ending = ""

    @classmethod
    async def open(cls, address: Address, settings: LinkSettings) -> "Link":
        """Connect and wait for the welcome. Cancel-safe: nothing stays open.

        Raises:
            BrokerClosed: nobody is there, or not within `connect_timeout_s`.
            Unauthenticated, Forbidden: the broker does not want us.
            RemoteProtocolError: whoever is there is no broker.
        """
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                return await cls._open(address, settings)
        except TimeoutError as error:
            raise BrokerClosed(
                f"no broker at {address.url}: no answer within {settings.connect_timeout_s} s"
            ) from error
        except OSError as error:
            raise BrokerClosed(f"no broker at {address.url}: {error}") from error
        except InvalidStatus as error:
            response = error.response
            content_type = response.headers.get("Content-Type", "")
            raise error_from_answer(
                response.status_code, content_type, bytes(response.body or b""), address.url
            ) from error
        except InvalidHandshake as error:
            raise RemoteProtocolError(f"{address.url} does not speak WebSocket: {error}") from error

    @classmethod
    async def _open(cls, address: Address, settings: LinkSettings) -> "Link":
        connection = await connect(
            address.websocket_url,
            subprotocols=[Subprotocol(each) for each in settings.codec.subprotocols if each is not None],
            compression=None,
            additional_headers=dict(settings.headers),
            proxy=None,
            ssl=settings.ssl_context if address.secure else None,
            open_timeout=None,  # the caller's covers the welcome as well
            close_timeout=settings.close_timeout_s,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            max_size=settings.frame_limit_bytes,
        )
        try:
            if connection.subprotocol not in settings.codec.subprotocols:
                raise RemoteProtocolError(f"{address.url} does not speak {settings.codec.subprotocols[0]}")
            pushes = settings.codec.decode(await connection.recv(decode=False))
            if len(pushes) != 1 or not isinstance(pushes[0], Welcome):
                raise RemoteProtocolError(f"{address.url} does not begin with 'welcome'")
        except ConnectionClosed as error:
            raise BrokerClosed(f"no broker at {address.url}: {error}") from error
        except BaseException:
            connection.transport.abort()
            raise
        return cls(connection, settings.codec, pushes[0])

    async def receive(self) -> list[Push] | None:
        """Return the pushes of the next frame, None when the connection is over. Cancel-safe.

        Raises:
            RemoteProtocolError: the frame is not what a broker sends.
        """
        try:
            frame = await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            self.ending = str(error)
            if error.rcvd is not None and error.rcvd_then_sent is not False:
                self.close_code = error.rcvd.code
            return None
        return self.codec.decode(frame)

    async def send(self, commands: Sequence[bytes]) -> None:
        """Send encoded commands, in as few frames as hold them; wait while the connection does not take them.

        On a connection that is over nothing happens: `receive` tells.
        """
        try:
            for frame in self.codec.frames(commands):
                await self._connection.send(frame, text=self.codec.is_text)
        except ConnectionClosed:
            return

    async def close(self) -> None:
        """Close the connection, within `close_timeout_s`; at once when cancelled."""
        try:
            await self._connection.close()
        finally:
            self._connection.transport.abort()


def _join_json(commands: Sequence[bytes]) -> bytes:
    return commands[0] if len(commands) == 1 else b"[" + b",".join(commands) + b"]"


def _join_msgpack(commands: Sequence[bytes]) -> bytes:
    if len(commands) == 1:
        return commands[0]
    return msgpack.Packer().pack_array_header(len(commands)) + b"".join(commands)


CODECS = {
    "json": Codec(("extra.v1.json", None), True, encode_json, _join_json, decode_pushes_json),
    "msgpack": Codec(("extra.v1.msgpack",), False, encode_msgpack, _join_msgpack, decode_pushes_msgpack),
}
