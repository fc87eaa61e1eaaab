"""What a worker of gunicorn's makes of gunicorn's settings."""

import logging
import sys
from types import SimpleNamespace

from gunicorn.config import Config

from extra.bridges.gunicorn import options_of, use_logs


def test_settings_become_options() -> None:
    settings = Config()
    settings.set("keepalive", 7)
    settings.set("worker_connections", 10)
    settings.set("forwarded_allow_ips", "10.0.0.1,10.0.0.2")
    settings.set("certfile", "cert.pem")
    settings.set("cert_reqs", 2)
    chosen = options_of(settings, 5)
    assert chosen.timeout_keep_alive == 7
    assert chosen.limit_concurrency == 10
    assert chosen.limit_max_requests == 5
    assert chosen.forwarded_allow_ips == "10.0.0.1,10.0.0.2"
    assert (chosen.ssl_certfile, chosen.ssl_cert_reqs) == ("cert.pem", "required")
    assert not chosen.access_log


def test_without_proxies_and_limits() -> None:
    settings = Config()
    settings.set("forwarded_allow_ips", "")
    chosen = options_of(settings, sys.maxsize)
    assert chosen.limit_max_requests == 0
    assert not chosen.proxy_headers


def test_our_loggers_write_where_theirs_do() -> None:
    theirs = SimpleNamespace(error_log=logging.Logger("e", 30), access_log=logging.Logger("a", 20))
    theirs.error_log.addHandler(logging.NullHandler())
    names = ("extra", "extra.access")
    before = [(logging.getLogger(name), dict(vars(logging.getLogger(name)))) for name in names]
    try:
        use_logs(theirs)
        assert logging.getLogger("extra").handlers == theirs.error_log.handlers
        assert logging.getLogger("extra").level == 30
        assert not logging.getLogger("extra.access").propagate
    finally:
        for logger, state in before:
            logger.handlers, logger.propagate = state["handlers"], state["propagate"]
            logger.setLevel(state["level"])
