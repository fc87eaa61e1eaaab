"""Other brokers and libraries, where they are installed, each with WebSockets and nothing kept on disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loadtest.processes import Server, announced, free_port, running_at
from loadtest.targets import Target

__all__ = ["installed_peers"]

NCHAN_PLACES: Final = (Path("/usr/lib/nginx/modules"), Path("/usr/local/nginx/modules"))

MOSQUITTO: Final = """\
listener {other_port} 127.0.0.1
listener {port}
bind_interface lo
protocol websockets
allow_anonymous true
persistence false
max_queued_messages 0
log_type error
"""

NATS: Final = """\
listen: "127.0.0.1:{other_port}"
websocket {{ listen: "127.0.0.1:{port}", no_tls: true, compression: false }}
"""

NGINX: Final = """\
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr error;
pid {place}/nginx.pid;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
    uwsgi_temp_path {place}; scgi_temp_path {place};
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        nchan_channel_id bench;
        location = / {{ nchan_subscriber websocket; nchan_subscriber_first_message newest; }}
        location = /publish {{ nchan_publisher websocket; }}
    }}
}}
"""


@contextmanager
def broadcast() -> Iterator[Server]:
    """Start `websockets.broadcast`."""
    with announced("-m", "loadtest.servers.broadcast") as server:
        yield server


@contextmanager
def starlette_loop() -> Iterator[Server]:
    """Start a Starlette application on uvicorn."""
    with announced("-m", "loadtest.servers.starlette_loop", python=_load_python()) as server:
        yield server


@contextmanager
def mosquitto() -> Iterator[Server]:
    """Start mosquitto."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        configuration = _written(place, MOSQUITTO.format(port=port, other_port=free_port()))
        with running_at(port, _program("mosquitto"), "-c", configuration, log=Path(place, "log")) as server:
            yield server


@contextmanager
def nats() -> Iterator[Server]:
    """Start nats-server."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        configuration = _written(place, NATS.format(port=port, other_port=free_port()))
        with running_at(port, _program("nats-server"), "-c", configuration, log=Path(place, "log")) as server:
            yield server


@contextmanager
def nchan() -> Iterator[Server]:
    """Start nginx with nchan, one worker."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)  # the worker is another user when root starts it
        configuration = _written(place, NGINX.format(port=port, place=place, module=_nchan_module()))
        command = (_program("nginx"), "-c", configuration, "-p", place, "-e", "stderr")
        with running_at(port, *command, log=Path(place, "log")) as server:
            yield server


def installed_peers() -> tuple[dict[str, Target], list[str]]:
    """Return those that are there, by name, and the names of those that are not."""
    found = {"websockets.broadcast": Target("raw", broadcast)}
    missing = []
    for name, is_there, target in (
        ("Starlette on uvicorn", bool(_load_python()), Target("raw", starlette_loop)),
        ("mosquitto", bool(_program("mosquitto")), Target("mqtt", mosquitto)),
        ("nats-server", bool(_program("nats-server")), Target("nats", nats)),
        ("nginx with nchan", bool(_program("nginx") and _nchan_module()), Target("raw", nchan)),
    ):
        if is_there:
            found[name] = target
        else:
            missing.append(name)
    return found, missing


def _program(name: str) -> str:
    """Return where a program is, also where only root looks; "" without it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def _nchan_module() -> str:
    """Return where nginx's module is, "" without it."""
    places = [place / "ngx_nchan_module.so" for place in NCHAN_PLACES]
    return next((str(each) for each in places if each.exists()), "")


def _load_python() -> str:
    """Return the Python of the load's own environment, "" without it."""
    python = os.environ.get("EXTRA_LOAD_PYTHON", "")
    return python if python and Path(python).exists() else ""


def _written(place: str, text: str) -> str:
    """Return the path of a configuration file with this text."""
    path = Path(place, "configuration")
    path.write_text(text)
    return str(path)
