"""What users derive their services from."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import getattr_static
from typing import TYPE_CHECKING, ClassVar

from extra.errors import BrokerClosed
from extra.http import Convertor, Middleware
from extra.pubsub import Broker, Message, Receipt
from extra.services.declarations import Declarations, declarations_of

if TYPE_CHECKING:
    from extra.services.application import Services

__all__ = ["Service"]


class Service:
    """A class whose methods are declared, by `on` and its kin, for requests, WebSockets and topics alike.

    There is one object of it in an application, made and used in the event loop's thread; only methods that
    are neither `async` nor `quick` run in threads. What a service needs goes into its own `__init__`, whose
    object is then passed to `server`, or into `start`.
    """

    prefix: ClassVar[str] = ""
    """What its paths begin with. An object may have its own."""

    middleware: ClassVar[Sequence[Middleware]] = ()
    """What stands around its handlers, within the application's; the first is the outermost."""

    convertors: ClassVar[Mapping[str, Convertor]] = {}
    """Kinds of parameters that its paths have, besides the usual ones."""

    _services: "Services | None" = None

    async def start(self) -> None:
        """Prepare to serve. Called before the first request, in the order of the services."""

    def drain(self) -> None:
        """End what goes on and only the service can end: the host shuts down. Streams and WebSockets of
        methods are ended anyway. May be called more than once.
        """

    async def stop(self) -> None:
        """Tidy up. Called in reverse order, for every service that has started, whatever others raise."""

    @property
    def services(self) -> "Services":
        """The application that this service is part of.

        Raises:
            BrokerClosed: it is part of none yet.
        """
        if self._services is None:
            raise BrokerClosed(f"{type(self).__name__} is not part of an application")
        return self._services

    @property
    def broker(self) -> Broker:
        """The broker of the application. Raises BrokerClosed while there is none."""
        return self.services.broker

    async def publish(
        self,
        topic: str,
        data: object,
        *,
        retain: bool = False,
        ttl: float | None = None,
        key: str | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        if_last: int | None = None,
        deliver_at: float | None = None,
    ) -> Receipt:
        """Publish a value, as `Broker.publish` does: bytes, a string, or anything else as JSON."""
        return await self.broker.publish(
            topic,
            data,
            retain=retain,
            ttl=ttl,
            key=key,
            content_type=content_type,
            headers=headers,
            if_last=if_last,
            deliver_at=deliver_at,
        )

    async def ask(self, topic: str, data: object = None, *, timeout_s: float = 5.0) -> Message:
        """Make a request over a topic, and return the reply.

        Who serves says `@on(REQUEST=...)`, here or in another process on the same broker; several who do all
        answer, and the first reply counts.

        Raises:
            NobodyServes: nobody is subscribed to the topic.
            RequestFailed: the answer is an error; its `reason` is the code.
            TimedOut: there was no reply in time.
        """
        return await self.services.ask(topic, data, timeout_s)

    def declared(self) -> Iterator[tuple[str, Declarations]]:
        """Iterate over the names of methods that are declared for something, and what for."""
        for kind in type(self).__mro__:
            for name, function in vars(kind).items():
                if getattr_static(type(self), name, None) is function:
                    declarations = declarations_of(getattr(function, "__func__", function))
                    if declarations is not None:
                        yield name, declarations
