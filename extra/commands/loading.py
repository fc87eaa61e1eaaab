"""From `module:app` to something that can be served: what it is, and how it is hosted."""

import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from extra.bridges import ASGIApplication, ASGIServices
from extra.bridges.asgi_host import ASGIHost, Lifespan, Spawn
from extra.bridges.mounting import asgi3_of_asgi2
from extra.http import Begin, Handler, begin_of
from extra.services import Service, Services

__all__ = ["INTERFACES", "Interface", "LoadError", "Loaded", "find", "host"]

Interface: TypeAlias = Literal["auto", "services", "asgi3", "asgi2", "wsgi"]

INTERFACES: Final[tuple[str, ...]] = get_args(Interface)


class LoadError(Exception):
    """There is no such module or name in it, or it is nothing that can be served. Says which, and why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server needs: a handler, what is entered around it, and what ends its streams.

    `begin` is the handler's, for a server that serves nothing else.
    """

    handler: Handler
    begin: Begin
    life: AbstractAsyncContextManager[object]
    drain: Callable[[], None]
    interface: str
    services: Services | None = None


def find(target: str, *, factory: bool = False, directory: str = "") -> object:
    """Return what `module:name` names; `name` may have dots, and is `app` where it is left out.

    `directory` is where modules are looked for first. With `factory`, what is called returns it.

    Raises:
        LoadError: it cannot be found. What importing the module raises goes through.
    """
    module_name, _, name = target.partition(":")
    name = name or "app"
    is_file = module_name.endswith(".py")
    if is_file or not all(part.isidentifier() for part in module_name.split(".")):
        hint = f": did you mean {Path(module_name).stem}:{name}?" if is_file else ""
        raise LoadError(f"{target!r} is not of the form module:app{hint}")
    path = str(Path(directory or ".").resolve())
    if path not in sys.path:
        sys.path.insert(0, path)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports what is not
        raise LoadError(f"there is no module {module_name!r} in {path}, nor on the path") from None
    for part in name.split("."):
        if not hasattr(found, part):
            alike = get_close_matches(part, dir(found), 1)
            hint = f": did you mean {alike[0]}?" if alike else ""
            raise LoadError(f"there is no {name!r} in {module_name!r}{hint}")
        found = getattr(found, part)
    if factory:
        if not callable(found):
            raise LoadError(f"{target!r} is no factory: it cannot be called")
        found = found()
    return found


def host(
    application: object,
    *,
    interface: Interface = "auto",
    lifespan: Lifespan = "auto",
    root_path: str = "",
    address: tuple[str, int | None] | None = None,
    spawn: Spawn | None = None,
    stop_timeout_s: float = 10.0,
) -> Loaded:
    """Return `application` as a server takes it. `interface` says what it is, if it is not found out.

    Raises:
        LoadError: it is nothing that can be served.
    """
    kind = interface_of(application) if interface == "auto" else interface
    if kind == "services":
        return host_ours(application)
    if not callable(application):
        raise LoadError(f"{application!r} is no application: it cannot be called")
    if kind == "wsgi":
        try:
            from extra.bridges.wsgi import WSGIHost
        except ModuleNotFoundError as error:
            raise LoadError(f"WSGI applications need {error.name}: install extra-broker[wsgi]") from None
        wsgi = WSGIHost(application, root_path=root_path)
        return Loaded(wsgi.handle, wsgi.begin, wsgi, wsgi.drain, kind)
    if kind == "asgi2":
        application = asgi3_of_asgi2(application)
    asgi = ASGIHost(
        application,
        lifespan=lifespan,
        root_path=root_path,
        address=address,
        spawn=spawn,
        stop_timeout_s=stop_timeout_s,
    )
    return Loaded(asgi.handle, asgi.begin, asgi, asgi.drain, kind)


def host_ours(application: object) -> Loaded:
    """Return an application of our own, without ASGI in between."""
    if isinstance(application, type) and issubclass(application, Service):
        application = Services(application)
    if isinstance(application, Service):
        application = Services(application)
    if isinstance(application, ASGIServices):
        application = application.services
    if isinstance(application, Services):
        services = application
        return Loaded(services.handle, services.begin, services, services.drain, "services", services)
    if isinstance(application, ASGIApplication):
        handler = application.handler
        return Loaded(handler, begin_of(handler), application.life, application.drain, "services")
    raise LoadError(f"{application!r} is no service, nor an application made of services")


def interface_of(application: object) -> Interface:
    """Return what an application is, by how it can be called. Raises LoadError if it is none."""
    if isinstance(application, Service | Services | ASGIApplication):
        return "services"
    if isinstance(application, type) and issubclass(application, Service):
        return "services"
    if not callable(application):
        raise LoadError(f"{application!r} is no application: it cannot be called")
    try:
        parameters = list(inspect.signature(application).parameters.values())
    except (TypeError, ValueError):
        return "asgi3"
    if not parameters:
        raise LoadError(
            f"{application!r} takes no arguments, as applications do: is it a factory (--factory)?"
        )
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(type(application).__call__):
        return "asgi3"
    needed = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty
    ]
    return {1: "asgi2", 2: "wsgi"}.get(len(needed), "asgi3")  # type: ignore[return-value]  # of those
