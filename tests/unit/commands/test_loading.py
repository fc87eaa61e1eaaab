"""From a name to something that can be served."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extra import Request, Response, Service, Services, on, server
from extra.bridges import ASGIApplication
from extra.bridges.asgi_host import ASGIHost
from extra.bridges.wsgi import WSGIHost
from extra.commands.loading import LoadError, find, host, interface_of

MODULE = """
value = 7
class Holder:
    app = "held"
def make():
    return "made"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules in it, as if it had been started there."""
    (tmp_path / "loadable.py").write_text(MODULE)
    (tmp_path / "broken_import.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("loadable", "broken_import"):
        sys.modules.pop(name, None)


def test_name_in_a_module_is_found(folder: Path) -> None:
    assert find("loadable:value") == 7
    assert find("loadable:Holder.app") == "held"
    assert find("loadable:make", factory=True) == "made"


def test_modules_may_be_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert find("loadable:value", directory=str(folder)) == 7


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("loadable.py:value", "did you mean loadable:value?"),
        ("loadable:valeu", "did you mean value?"),
        ("loadable", "there is no 'app' in 'loadable'"),
        ("nowhere_at_all:app", "there is no module 'nowhere_at_all'"),
        ("a/b:app", "not of the form module:app"),
        (":app", "not of the form module:app"),
    ],
)
def test_what_cannot_be_found_is_told_with_a_hint(folder: Path, target: str, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        find(target)


def test_what_is_no_factory_is_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match="no factory"):
        find("loadable:value", factory=True)


def test_module_that_imports_what_is_not_there_says_so_itself(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        find("broken_import:app")


class Hello(Service):
    @on(GET="/")
    async def hello(self) -> str:
        return "hello"


async def asgi3(scope: Any, receive: Any, send: Any) -> None: ...
def asgi2(scope: Any) -> Any: ...
def wsgi(environ: Any, start_response: Any) -> Any: ...


class ASGI3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ASGI2:
    def __init__(self, scope: Any) -> None: ...
    async def __call__(self, receive: Any, send: Any) -> None: ...


class WSGI:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class Flasky:
    def __call__(self, environ: Any, start_response: Any, later: int = 0) -> Any: ...


@pytest.mark.parametrize(
    ("application", "interface"),
    [
        (Hello, "services"),
        (Hello(), "services"),
        (Services(Hello), "services"),
        (server(Hello), "services"),
        (asgi3, "asgi3"),
        (ASGI3(), "asgi3"),
        (functools.partial(asgi3), "asgi3"),
        (asgi2, "asgi2"),
        (ASGI2, "asgi2"),
        (wsgi, "wsgi"),
        (WSGI(), "wsgi"),
        (WSGI().__call__, "wsgi"),
        (Flasky(), "wsgi"),
    ],
)
def test_interface_is_found_out(application: object, interface: str) -> None:
    assert interface_of(application) == interface


async def test_every_interface_has_its_host() -> None:
    assert isinstance(host(asgi3).life, ASGIHost)
    assert isinstance(host(wsgi).life, WSGIHost)
    assert host(asgi2).interface == "asgi2"
    assert host(wsgi, interface="asgi3").interface == "asgi3"
    for ours in (Hello, Hello(), Services(Hello), server(Hello)):
        loaded = host(ours)
        assert loaded.services is not None
        async with loaded.life:
            assert (await loaded.handler(Request("GET", b"/"))).body == b"hello"


async def test_application_of_ours_need_not_be_made_of_services() -> None:
    async def handle(request: Request) -> Response:
        return Response(200, b"x")

    application = ASGIApplication(handle, Services())
    loaded = host(application)
    assert (loaded.handler, loaded.services) == (handle, None)


@pytest.mark.parametrize(("application", "interface"), [(7, "auto"), (7, "asgi3"), (asgi3, "services")])
async def test_what_cannot_be_served_is_refused(application: object, interface: Any) -> None:
    with pytest.raises(LoadError, match="is no"):
        host(application, interface=interface)


async def make() -> None: ...


@pytest.mark.parametrize("factory", [lambda: asgi3, make])
def test_factory_that_is_taken_for_an_application_is_told(factory: object) -> None:
    with pytest.raises(LoadError, match=r"is it a factory \(--factory\)\?"):
        host(factory)
