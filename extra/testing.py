"""Driving services in a test, without sockets: requests go straight to the application.

    async with TestClient(Services(Rooms)) as client:
        answer = await client.post("/rooms/7/say", json={"text": "hello"})
        assert answer.status == 200

Entering the client starts the application, and leaving it stops it, as a server would.
"""

from asyncio import Task, create_task, wait
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode

import msgspec

from extra.errors import ExtraError
from extra.http import Body, BodySource, Request, Response
from extra.pubsub import Broker
from extra.services import Services

__all__ = ["Answer", "TestClient"]


class Hosted(Protocol):
    """What has services inside: the application that `extra.server` makes."""

    services: Services


class Answer:
    """What a client has got: the head, and the body once it has been read."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.status = response.status
        self.headers = list(response.headers)
        if response.content_type is not None:
            self.headers.insert(0, ("Content-Type", response.content_type))
        self.body = b""

    def header(self, name: str) -> str | None:
        """Return the first value of a header field, None when it is not there."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body, decoded from JSON."""
        return msgspec.json.decode(self.body)

    async def parts(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it comes, for `TestClient.stream`."""
        body = self.response.body
        if isinstance(body, bytes):
            if body:
                yield body
            return
        try:
            async for part in body:
                yield part
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()


class TestClient:
    """A client of one application, in the process and the event loop of the test. Keeps cookies."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, application: Services | Hosted) -> None:
        self.services = application if isinstance(application, Services) else application.services
        self.cookies: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.services)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    @property
    def broker(self) -> Broker:
        """The broker of the application."""
        return self.services.broker

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | AsyncIterable[bytes] = b"",
        json: object = msgspec.UNSET,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and return its answer, read to the end."""
        async with self.stream(
            method, path, query=query, headers=headers, content=content, json=json, form=form
        ) as answer:
            answer.body = b"".join([part async for part in answer.parts()])
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        """Send a GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """Send a POST."""
        return await self.request("POST", path, **options)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | AsyncIterable[bytes] = b"",
        json: object = msgspec.UNSET,
        form: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a request, and give its answer as soon as it begins: its body comes from `Answer.parts`."""
        fields = {"host": "testserver"}
        if self.cookies:
            fields["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if json is not msgspec.UNSET:
            content = msgspec.json.encode(json)
            fields["content-type"] = "application/json"
        if form is not None:
            content = urlencode(form).encode()
            fields["content-type"] = "application/x-www-form-urlencoded"
        fields.update({name.lower(): value for name, value in (headers or {}).items()})
        feeder: _Feeder | None = None
        body: Body | bytes
        if isinstance(content, str):
            body = content.encode()
        elif isinstance(content, bytes):
            body = content
        else:
            feeder = _Feeder(content)
            body = feeder.body
        request = Request(
            method,
            _target_of(path, query),
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
            client="127.0.0.1:50000",
            body=body,
        )
        try:
            answer = Answer(await self.services.handle(request))
            self._keep_cookies(answer)
            try:
                yield answer
            finally:
                if isinstance(answer.response.body, AsyncGenerator):
                    await answer.response.body.aclose()
        finally:
            if feeder is not None:
                await feeder.close()

    def _keep_cookies(self, answer: Answer) -> None:
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                cookie, _, attributes = value.partition(";")
                key, _, text = cookie.partition("=")
                self.cookies[key] = text
                if "max-age=0" in attributes.lower().replace(" ", "").split(";"):
                    del self.cookies[key]


class _Feeder(BodySource):
    """Feeds a body from an iterable, a part at a time, when the handler wants it."""

    def __init__(self, parts: AsyncIterable[bytes]) -> None:
        self._parts = aiter(parts)
        self._task: Task[None] | None = None
        self.body = Body(self)

    def body_wanted(self) -> None:
        if self._task is None or self._task.done():
            self._task = create_task(self._feed())

    async def close(self) -> None:
        """Let go of the iterable, and of what waits for it."""
        if self._task is not None:
            self._task.cancel()
            await wait([self._task])
        if isinstance(self._parts, AsyncGenerator):
            await self._parts.aclose()

    async def _feed(self) -> None:
        try:
            self.body.feed(await anext(self._parts))
        except StopAsyncIteration:
            self.body.end()
        except ExtraError as error:
            self.body.fail(error)


def _target_of(path: str, query: Mapping[str, str] | None) -> bytes:
    """Return the target of a request, as it is sent: `path` may have escapes and a query already."""
    target = quote(path, safe="/?#[]@!$&'()*+,;=:%-._~")
    if query:
        target += ("&" if "?" in target else "?") + urlencode(query, quote_via=quote)
    return target.encode("ascii")
