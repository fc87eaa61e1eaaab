"""A class of workers for gunicorn, which then looks after the processes, and our server serves in each.

    gunicorn rooms:app --worker-class extra.bridges.gunicorn.Worker --workers 4

It takes services, ASGI and WSGI applications, as `extra run` does, and gunicorn's own settings: the sockets,
the certificate, `keep_alive`, `graceful_timeout`, `max_requests`, `worker_connections`, the proxies that are
believed, and both logs. Each worker has a memory and a broker of its own.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker as GunicornWorker

from extra.commands.options import RunOptions
from extra.commands.running import loop_factory, serve

__all__ = ["Worker"]

BEAT_S: Final = 1.0
"""How often gunicorn hears that the worker is alive; it ends one that says nothing for `timeout`."""

REQUIREMENTS: Final = ("none", "optional", "required")
"""What `cert_reqs` means: the values of `ssl.CERT_NONE` and so on."""


class Worker(GunicornWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves in one process of gunicorn's."""

    def run(self) -> None:
        """Serve until gunicorn ends it. Called by gunicorn, when the application has been imported."""
        use_logs(self.log)
        signal.set_wakeup_fd(-1)  # gunicorn's, which nobody reads here; the event loop has its own
        options = options_of(self.cfg, self.max_requests)
        serving = serve(self.wsgi, options, sockets=self.sockets, signals=(), began=self.begun)
        with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
            status = runner.run(serving)
        if status:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)  # so that gunicorn ends, instead of trying for ever

    def begun(self, stop: Callable[[], None]) -> None:
        """Take the signals into the event loop from here on, and let gunicorn know that this is alive."""
        loop = asyncio.get_running_loop()

        def cut() -> None:
            stop()
            stop()

        def beat() -> None:
            self.notify()
            if os.getppid() != self.ppid:
                self.log.info("the parent has changed: worker %s ends", self.pid)
                stop()
                return
            loop.call_later(BEAT_S, beat)

        loop.add_signal_handler(signal.SIGTERM, stop)
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, cut)
        loop.add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        if not self.alive:  # a signal has come before
            stop()
        beat()


def options_of(settings: Any, max_requests: int) -> RunOptions:
    """Return how to serve, from gunicorn's settings."""
    return RunOptions(
        access_log=bool(settings.accesslog),
        backlog=settings.backlog,
        forwarded_allow_ips=",".join(settings.forwarded_allow_ips),
        proxy_headers=bool(settings.forwarded_allow_ips),
        limit_concurrency=settings.worker_connections,
        limit_max_requests=0 if max_requests == sys.maxsize else max_requests,
        timeout_keep_alive=float(settings.keepalive),
        timeout_graceful_shutdown=float(settings.graceful_timeout),
        ssl_certfile=settings.certfile or "",
        ssl_keyfile=settings.keyfile or "",
        ssl_cert_reqs=REQUIREMENTS[int(settings.cert_reqs)],
        ssl_ca_certs=settings.ca_certs or "",
        ssl_ciphers=settings.ciphers or "",
    )


def use_logs(log: Any) -> None:
    """Let our loggers write to where gunicorn's do."""
    for name, theirs in (("extra", log.error_log), ("extra.access", log.access_log)):
        ours = logging.getLogger(name)
        ours.handlers = theirs.handlers
        ours.propagate = False
        ours.setLevel(theirs.level)
