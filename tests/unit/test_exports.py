"""A name is public when its package's `__init__` lists it in `__all__`: the lists and the modules agree."""

import ast
import importlib
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("extra", "broker")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for top in OURS for path in sorted((ROOT / top).rglob("*.py"))}
PACKAGES = [name for name, path in FILES.items() if path.name == "__init__.py"]
MODULES = [name for name, path in FILES.items() if path.name not in ("__init__.py", "__main__.py")]


def load(name: str) -> ModuleType:
    """Import one of our modules; skip the test when what it is made to work with is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in OURS:
            raise
        pytest.skip(f"{name} needs {error.name}")


def listed(name: str) -> list[str] | None:
    """Return the `__all__` that a module's source spells out, None when there is none."""
    for node in ast.parse(FILES[name].read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    return None


def own_names(name: str) -> set[str]:
    """Return the names that a module's source defines or assigns at its top level, imports left out."""
    found = set()
    for node in ast.parse(FILES[name].read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def children(package: str) -> list[str]:
    """Return the modules and packages directly inside a package."""
    return [name for name in FILES if name.rpartition(".")[0] == package]


def order(name: str) -> tuple[int, list[tuple[str, int]]]:
    """Sort constants first, then classes, then the rest, digits by value: the order that ruff keeps."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


@pytest.mark.parametrize("name", [*PACKAGES, *MODULES])
def test_module_lists_its_names_in_order(name: str) -> None:
    names = listed(name)
    assert names is not None, f"{name} has no __all__"
    assert names == sorted(names, key=order)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [*PACKAGES, *MODULES])
def test_every_listed_name_is_there(name: str) -> None:
    module = load(name)
    assert [listed_name for listed_name in listed(name) or () if not hasattr(module, listed_name)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_package_exports_what_its_modules_list(name: str) -> None:
    """A module may list more than its package exports: that is for its neighbours."""
    inside = [other for other in FILES if other.startswith(f"{name}.")]
    offered = {offer for other in inside for offer in listed(other) or ()}
    assert set(listed(name) or ()) - offered - own_names(name) == set()


@pytest.mark.parametrize("name", PACKAGES)
def test_exported_name_comes_from_one_module(name: str) -> None:
    counts = Counter(offer for child in children(name) for offer in listed(child) or ())
    assert [exported for exported in listed(name) or () if counts[exported] > 1] == []


def test_no_name_is_exported_by_two_packages() -> None:
    """A package may show again what one inside it exports, as `extra` does: that is one name, not two."""
    exporters: dict[str, list[str]] = {}
    for package in sorted(PACKAGES, key=len, reverse=True):
        for name in listed(package) or ():
            inner = exporters.setdefault(name, [])
            if not any(other.startswith(f"{package}.") for other in inner):
                inner.append(package)
    assert {name: packages for name, packages in exporters.items() if len(packages) > 1} == {}
