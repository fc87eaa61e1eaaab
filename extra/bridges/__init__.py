"""Other hosts: our applications in them, and theirs on our server."""

from extra.bridges.asgi import ASGIApplication, ASGIServices, server

__all__ = ["ASGIApplication", "ASGIServices", "server"]
