"""Our applications in AWS Lambda, with mangum: API Gateway v1 and v2, function URLs, load balancers.

    handler = lambda_handler(server(Rooms))         # handler(event, context), as Lambda calls it

The application starts with the first event and lives as long as the process, which Lambda keeps between
events. There are no WebSockets, and nothing runs between events: what is for later has to be elsewhere.

Lambda takes a whole response, up to 6 MiB. Runtimes that can stream, such as a custom one or the web
adapter, get it in parts by `handler.stream(event, context)`: the prelude that Lambda wants, and then the
body.
"""

import asyncio
import json
import logging
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any, Final, TypeAlias

from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.handlers import ALB, APIGateway, HTTPGateway
from mangum.types import LambdaConfig

from extra.bridges.asgi import ASGIApplication
from extra.bridges.asgi_call import ASGICall, Field

__all__ = ["LambdaHandler", "lambda_handler"]

logger = logging.getLogger("extra.bridges")

Event: TypeAlias = dict[str, Any]

TEXT_TYPES: Final = (*DEFAULT_TEXT_MIME_TYPES, "+json", "+xml", "application/x-ndjson")
"""Parts of the types of text. The rest goes in base64, which a REST API without binary types passes on."""

KINDS: Final = (ALB, HTTPGateway, APIGateway)

RESPONSE_LIMIT_BYTES: Final = 6 * 1024 * 1024
"""What Lambda takes as a whole response."""

PRELUDE_END: Final = b"\0" * 8
"""Between the prelude of a streamed response, which is JSON, and its body."""


class LambdaHandler:
    """A function of events. For one thread; it has an event loop of its own."""

    def __init__(
        self,
        application: ASGIApplication,
        *,
        base_path: str = "/",
        response_limit_bytes: int = RESPONSE_LIMIT_BYTES,
    ) -> None:
        """Serve `application`. `base_path` is what a custom domain puts before the paths.

        A response of more than `response_limit_bytes` is broken off, and answered with 500.
        """
        self._application = application
        self._limit_bytes = response_limit_bytes
        self._loop: AbstractEventLoop | None = None
        self._config = LambdaConfig(
            api_gateway_base_path=base_path, text_mime_types=[*TEXT_TYPES], exclude_headers=[]
        )

    def __call__(self, event: Event, context: Any) -> Event:
        """Answer one event. Raises RuntimeError when it is no request of HTTP."""
        known = self._read(event, context)
        status, headers, body = self._running().run_until_complete(
            self._answer(_scope_of(known.scope, known.body), known.body)
        )
        response = known({"status": status, "headers": [list(field) for field in headers], "body": body})
        return dict(response)

    def stream(self, event: Event, context: Any) -> Generator[bytes, None, None]:
        """Answer one event in parts. Closing the iteration early tells the application that the client left.

        Raises:
            RuntimeError: the event is no request of HTTP.
            ConnectionAbortedError: the application has not completed its response.
        """
        known = self._read(event, context)
        loop = self._running()
        parts = self._stream(_scope_of(known.scope, known.body), known.body)
        try:
            while (part := loop.run_until_complete(anext(parts, None))) is not None:
                yield part
        finally:
            loop.run_until_complete(parts.aclose())

    def close(self) -> None:
        """Stop the application. Idempotent; the end of the process does without."""
        if self._loop is not None:
            self._loop.run_until_complete(self._application.stop())
            self._loop.close()
            self._loop = None

    def _read(self, event: Event, context: Any) -> ALB | HTTPGateway | APIGateway:
        for kind in KINDS:
            if kind.infer(event, context, self._config):
                return kind(event, context, self._config)
        raise RuntimeError("the event is no request of API Gateway, a function URL or a load balancer")

    def _running(self) -> AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop

    async def _answer(self, scope: Event, body: bytes) -> tuple[int, list[Field], bytes]:
        whole = bytearray()
        async with ASGICall(self._application, scope, _parts_of(body)) as call:
            status, headers = await call.head()
            try:
                async for part in call.parts():
                    whole += part
                    if len(whole) > self._limit_bytes:
                        logger.error("a response larger than response_limit_bytes=%d", self._limit_bytes)
                        return 500, [], b""
            except ConnectionAbortedError:
                return 500, [], b""
        return status, headers, bytes(whole)

    async def _stream(self, scope: Event, body: bytes) -> AsyncGenerator[bytes, None]:
        async with ASGICall(self._application, scope, _parts_of(body)) as call:
            status, headers = await call.head()
            yield _prelude(status, headers) + PRELUDE_END
            async for part in call.parts():
                yield part


def lambda_handler(application: ASGIApplication, **options: Any) -> LambdaHandler:
    """Return an application of ours as a handler for Lambda; see `LambdaHandler` for the options."""
    return LambdaHandler(application, **options)


def _prelude(status: int, headers: list[Field]) -> bytes:
    """Return status, header fields and cookies as Lambda wants them; fields of one name are joined."""
    fields: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return json.dumps({"statusCode": status, "headers": fields, "cookies": cookies}).encode()


def _scope_of(scope: Any, body: bytes) -> Event:
    """Return the scope of an event, with the length of its body, which events may leave out.

    Where events bring the parameters of the query decoded, mangum writes spaces as `+`, which is one here.
    """
    query = scope["query_string"]
    if "rawQueryString" not in scope["aws.event"]:
        query = query.replace(b"+", b"%20")
    fields = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    fields = [
        (name, value) for name, value in fields if name not in (b"content-length", b"transfer-encoding")
    ]
    if body:
        fields.append((b"content-length", b"%d" % len(body)))
    return {**scope, "headers": fields, "query_string": query}


async def _parts_of(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
