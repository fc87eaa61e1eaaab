"""Our applications in AWS Lambda, with mangum: API Gateway v1 and v2, function URLs, load balancers.

    handler = lambda_handler(server(Rooms))         # handler(event, context), as Lambda calls it

The application starts with the first event and lives as long as the process, which Lambda keeps between
events. There are no WebSockets, and nothing runs between events: what is for later has to be elsewhere.

A path comes as it was sent from REST APIs (v1), load balancers and function URLs. HTTP APIs decode it, in
both versions of their payload, and that cannot be undone: `%2F` is a slash there, and a `?` ends the path.

Lambda takes a whole response, up to 6 MiB. Runtimes that can stream, such as a custom one or the web
adapter, get it in parts by `handler.stream(event, context)`: the prelude that Lambda wants, and then the
body.
"""

import asyncio
import json
import logging
import re
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.handlers import ALB, APIGateway, HTTPGateway
from mangum.types import LambdaConfig

from extra.bridges.asgi import PATH_SAFE, ASGIApplication
from extra.bridges.asgi_call import ASGICall, Field

__all__ = ["LambdaHandler", "lambda_handler"]

logger = logging.getLogger("extra.bridges")

Event: TypeAlias = dict[str, Any]

TEXT_TYPES: Final = (*DEFAULT_TEXT_MIME_TYPES, "+json", "+xml", "application/x-ndjson")
"""Parts of the types of text. The rest goes in base64, which a REST API without binary types passes on."""

KINDS: Final = (ALB, HTTPGateway, APIGateway)

RESPONSE_LIMIT_BYTES: Final = 6 * 1024 * 1024
"""What Lambda takes as a whole response."""

FUNCTION_URL: Final = ".lambda-url."
"""Part of the domain names of function URLs, whose events are those of HTTP APIs otherwise."""

LONE_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")

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
        """Serve `application`. `base_path` is what a custom domain, or the stage of an HTTP API, puts before
        the paths; the application is mounted there.

        A response of more than `response_limit_bytes` is broken off, and answered with 500.
        """
        self._application = application
        self._base_path = "/" + base_path.strip("/") if base_path.strip("/") else ""
        self._limit_bytes = response_limit_bytes
        self._loop: AbstractEventLoop | None = None
        self._config = LambdaConfig(
            api_gateway_base_path="/", text_mime_types=[*TEXT_TYPES], exclude_headers=[]
        )

    def __call__(self, event: Event, context: Any) -> Event:
        """Answer one event. Raises RuntimeError when it is no request of HTTP."""
        known = self._read(event, context)
        status, headers, body = self._running().run_until_complete(
            self._answer(self._scope_of(known), known.body)
        )
        fields = [[name, value.decode("latin-1").encode()] for name, value in headers]  # mangum expects UTF-8
        response = known({"status": status, "headers": fields, "body": body})
        return dict(response)

    def stream(self, event: Event, context: Any) -> Generator[bytes, None, None]:
        """Answer one event in parts. Closing the iteration early tells the application that the client left.

        Raises:
            RuntimeError: the event is no request of HTTP.
            ConnectionAbortedError: the application has not completed its response.
        """
        known = self._read(event, context)
        loop = self._running()
        parts = self._stream(self._scope_of(known), known.body)
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

    def _scope_of(self, known: ALB | HTTPGateway | APIGateway) -> Event:
        """Return the scope of an event, with its path as it was sent, as far as that is known."""
        scope = known.scope
        raw_path = _raw_path_of(known.event)
        base_path = self._base_path
        fields = _fields_of(known.event)
        if known.body:
            fields.append((b"content-length", b"%d" % len(known.body)))
        return {
            **scope,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("ascii"),
            "root_path": base_path if f"{raw_path}/".startswith(f"{base_path}/") else "",
            "query_string": _query_of(scope["query_string"], known.event),
            "headers": fields,
            "client": (
                (scope["client"][0] or "").rpartition(",")[2].strip(),
                0,
            ),  # of proxies, the last is known
        }

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


def _raw_path_of(event: Event) -> str:
    """Return the path of an event as it was sent. What HTTP APIs have decoded is encoded again."""
    path: str = event["rawPath"] if "rawPath" in event else event["path"]
    is_decoded = "version" in event and FUNCTION_URL not in event["requestContext"].get("domainName", "")
    if is_decoded:
        return quote(path or "/", safe=PATH_SAFE)
    # what stands in no path that was sent is from a gateway that decodes nevertheless, such as local ones
    return quote(LONE_PERCENT.sub("%25", path or "/"), safe=PATH_SAFE + "%")


def _query_of(query: bytes, event: Event) -> bytes:
    """Return the query of an event. Where it comes decoded, mangum writes spaces as `+`, a plus here."""
    return query if "rawQueryString" in event else query.replace(b"+", b"%20")


def _fields_of(event: Event) -> list[Field]:
    """Return the header fields of an event, but those of framing, which Lambda has done away with."""
    several: dict[str, list[str]] = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    fields = [
        (name.lower().encode(), value.encode())
        for name, values in several.items()
        if name.lower() not in ("content-length", "transfer-encoding")
        for value in values
    ]
    if event.get("cookies"):
        fields.append((b"cookie", "; ".join(event["cookies"]).encode()))
    return fields


async def _parts_of(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
