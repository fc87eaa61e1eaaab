"""The faces that the broker shows: HTTP, long-poll, Server-Sent Events and WebSocket, all of one core."""

from broker.endpoints.application import build_application
from broker.endpoints.hub import Hub
from broker.endpoints.reasons import error_response

__all__ = ["Hub", "build_application", "error_response"]
