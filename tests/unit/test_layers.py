"""Imports point downwards only: what every module of `extra` and `broker` imports, read from its source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOOR = {"errors", "payloads"}
"""Modules that every package may import, and that import nothing of ours."""

ROWS = {
    "topics": set[str](),
    "channels": set[str](),
    "pubsub": {"topics", "channels"},
    "protocols": set[str](),
    "http": {"protocols"},
    "services": {"http", "pubsub"},
    "servers": {"protocols", "http"},
    "bridges": {"http", "services", "servers"},
    "client": {"protocols", "pubsub"},
    "testing": {"services"},
    "commands": {"services", "servers", "bridges", "compilation"},
    "__main__": {"commands"},
    "compilation": {"topics"},
}
"""What each package of `extra` may import, besides itself, the floor, and what those rows in turn allow."""

ENTRANCES = {"extra.bridges.gunicorn": "commands"}
"""Modules by which another program comes in, each in the place where it is looked for: they may import what a
higher part may, and nothing imports them."""

STANDARD_LIBRARY_ONLY = {"topics", "channels", "pubsub"}
AND_FOR_THE_COMPILER = {"mypy_extensions"}


def allowed_packages(package: str) -> set[str]:
    """Return the parts of `extra` that `package`, one of the rows or of the floor, may import."""
    if package in FLOOR:
        return {package}
    reach = {package} | FLOOR
    for below in ROWS[package]:
        reach |= allowed_packages(below)
    return reach


def package_of(module: str) -> str:
    """Return the part of `extra` that a module belongs to, "" for `extra` itself."""
    return module.split(".")[1] if "." in module else ""


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Yield the full names that a module's source imports, wherever in it, `TYPE_CHECKING` included.

    `from a.b import c` gives `a.b.c`: `c` may be a module.
    """
    home = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join(start + ([node.module] if node.module else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_allowed(importer: str, imported: str) -> bool:
    """Tell whether one of our modules may import a module, both by their full names."""
    package, target = package_of(importer), imported.split(".")[0]
    if target == "tests":
        return False
    if importer.split(".")[0] == "broker":
        return True
    if target == "broker":
        return False
    if target != "extra":
        open_to_all = package not in STANDARD_LIBRARY_ONLY | FLOOR
        return open_to_all or target in sys.stdlib_module_names | AND_FOR_THE_COMPILER
    if importer == "extra":  # the front door, which shows what the packages export
        return package_of(imported) in set(ROWS) | FLOOR
    if any(imported == entrance or imported.startswith(f"{entrance}.") for entrance in ENTRANCES):
        return False
    return package_of(imported) in allowed_packages(ENTRANCES.get(importer, package))


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what a module of `extra` or `broker` imports against the rows."""
    return [name for name in imported_modules(source, module, is_package) if not is_allowed(module, name)]


def modules_of(package: str) -> list[tuple[str, Path]]:
    """Return the full name and the path of every module in a top package, `__init__` as its package."""
    listed = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        listed.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return listed


MODULES = modules_of("extra") + modules_of("broker")


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_module_imports_only_what_its_layer_allows(module: str, path: Path) -> None:
    if module.startswith("extra."):
        assert package_of(module) in set(ROWS) | FLOOR, "no known part of extra: it needs a row here"
    assert violations(path.read_text(), module, path.name == "__init__.py") == []


def test_rows_allow_what_the_rows_below_allow() -> None:
    assert (
        allowed_packages("services")
        == {"services", "http", "protocols", "pubsub", "topics", "channels"} | FLOOR
    )
    assert allowed_packages("topics") == {"topics"} | FLOOR


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("extra.topics.tree", "from extra.pubsub import Message"),
        ("extra.topics.tree", "from extra import pubsub"),
        ("extra.topics.tree", "import extra"),
        ("extra.topics.tree", "from ..pubsub.log import Log"),
        ("extra.topics.tree", "import msgspec"),
        ("extra.errors", "from extra.topics import check_topic"),
        ("extra.http.router", "if TYPE_CHECKING:\n    from extra.services import Service"),
        ("extra.servers.tcp", "def late() -> None:\n    import broker.cli"),
        ("extra.client.sync", "from tests.fakes import clock"),
        ("extra", "import broker"),
        ("extra.commands.running", "from extra.bridges.gunicorn import Worker"),
    ],
)
def test_upward_import_is_found_wherever_it_stands(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("extra.topics.tree", "import heapq\nfrom mypy_extensions import mypyc_attr"),
        ("extra.topics.tree", "from extra.errors import InvalidTopic\nfrom . import names"),
        ("extra.topics.tree", "from .names import check_topic"),
        ("extra.services.app", "from extra.topics import check_topic\nimport msgspec"),
        ("broker.cli", "import extra\nfrom extra.pubsub import Broker\nfrom broker import settings"),
        ("extra", "from extra.services import Service"),
    ],
)
def test_downward_import_is_allowed(module: str, source: str) -> None:
    assert violations(source, module) == []
