"""HTTP without sockets: requests, responses, routes, middleware, and the seam to responses that go on."""

from extra.http.application import Application, Middleware
from extra.http.body import Body, BodySource
from extra.http.compression import Compression
from extra.http.convertors import CONVERTORS, Convertor
from extra.http.cors import CORS
from extra.http.errors import (
    STATUSES,
    BadRequest,
    BodyTooLarge,
    BodyTruncated,
    Conflict,
    ErrorResponse,
    Found,
    Gone,
    HTTPError,
    MethodNotAllowed,
    MovedPermanently,
    NotFound,
    PermanentRedirect,
    Redirect,
    RequestTimeout,
    ResponseCut,
    SeeOther,
    ServerOverloaded,
    ServiceUnavailable,
    TemporaryRedirect,
    TooManyRequests,
    UnsupportedMediaType,
    problem_response,
    status_of,
)
from extra.http.events import ServerSentEvent
from extra.http.files import file_response
from extra.http.forms import Form, FormLimits, Upload
from extra.http.pages import as_page, debug_response, wants_page
from extra.http.parts import Parts
from extra.http.patterns import Pattern, parse_pattern
from extra.http.request import Request, decode_percent
from extra.http.response import (
    Headers,
    Response,
    StreamingResponse,
    WebSocketResponse,
    encode_body,
    json_response,
    problem,
)
from extra.http.router import AtOnce, Begin, Condition, Handler, Route, Router, begin_of
from extra.http.stepping import Rest, step, stepped
from extra.http.stream import Stream, StreamTaker, WebSocket, WebSocketTaker, Wire

__all__ = [
    "CONVERTORS",
    "CORS",
    "STATUSES",
    "Application",
    "AtOnce",
    "BadRequest",
    "Begin",
    "Body",
    "BodySource",
    "BodyTooLarge",
    "BodyTruncated",
    "Compression",
    "Condition",
    "Conflict",
    "Convertor",
    "ErrorResponse",
    "Form",
    "FormLimits",
    "Found",
    "Gone",
    "HTTPError",
    "Handler",
    "Headers",
    "MethodNotAllowed",
    "Middleware",
    "MovedPermanently",
    "NotFound",
    "Parts",
    "Pattern",
    "PermanentRedirect",
    "Redirect",
    "Request",
    "RequestTimeout",
    "Response",
    "ResponseCut",
    "Rest",
    "Route",
    "Router",
    "SeeOther",
    "ServerOverloaded",
    "ServerSentEvent",
    "ServiceUnavailable",
    "Stream",
    "StreamTaker",
    "StreamingResponse",
    "TemporaryRedirect",
    "TooManyRequests",
    "UnsupportedMediaType",
    "Upload",
    "WebSocket",
    "WebSocketResponse",
    "WebSocketTaker",
    "Wire",
    "as_page",
    "begin_of",
    "debug_response",
    "decode_percent",
    "encode_body",
    "file_response",
    "json_response",
    "parse_pattern",
    "problem",
    "problem_response",
    "status_of",
    "step",
    "stepped",
    "wants_page",
]
