"""HTTP without sockets: requests, responses, routes, middleware, and the seam to responses that go on."""

from extra.http.application import Application, Middleware
from extra.http.body import Body, BodySource
from extra.http.errors import (
    BodyTooLarge,
    BodyTruncated,
    ErrorResponse,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    ServerOverloaded,
    problem_response,
)
from extra.http.request import Request, decode_percent
from extra.http.response import (
    Headers,
    Response,
    StreamingResponse,
    WebSocketResponse,
    json_response,
    problem,
)
from extra.http.router import Handler, Router
from extra.http.stream import Stream, StreamTaker, WebSocket, WebSocketTaker, Wire

__all__ = [
    "Application",
    "Body",
    "BodySource",
    "BodyTooLarge",
    "BodyTruncated",
    "ErrorResponse",
    "Handler",
    "Headers",
    "MethodNotAllowed",
    "Middleware",
    "NotFound",
    "Request",
    "RequestTimeout",
    "Response",
    "Router",
    "ServerOverloaded",
    "Stream",
    "StreamTaker",
    "StreamingResponse",
    "WebSocket",
    "WebSocketResponse",
    "WebSocketTaker",
    "Wire",
    "decode_percent",
    "json_response",
    "problem",
    "problem_response",
]
