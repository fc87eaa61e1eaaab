"""The smallest service: `uvicorn helloworld:app`, or `extra run helloworld:app`."""

from extra import Request, Response, Service, on, server


class HelloWorld(Service):
    @on(GET="{any}")
    def hello(self, request: Request, any: str) -> Response:
        return request.respond(b"Hello, World !", b"text/plain")


app = server(HelloWorld)
