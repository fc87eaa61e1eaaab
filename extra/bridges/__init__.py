"""Other hosts: our applications in them, and theirs on our server.

Modules that need a library of others are imported by their names: `wsgi` (a2wsgi), `awslambda` (mangum) and
`aiohttp_host` (aiohttp).
"""

from extra.bridges.asgi import ASGIApplication, ASGIServices, server
from extra.bridges.filing import serve_file
from extra.bridges.hosting import Hosting, hosting, serve_connection
from extra.bridges.messaging import Channels, MessagingApplication, asgi_of_messaging, messaging_of_asgi
from extra.bridges.mounting import Mounted

__all__ = [
    "ASGIApplication",
    "ASGIServices",
    "Channels",
    "Hosting",
    "MessagingApplication",
    "Mounted",
    "asgi_of_messaging",
    "hosting",
    "messaging_of_asgi",
    "serve_connection",
    "serve_file",
    "server",
]
