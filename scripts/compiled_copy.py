"""Keeps a compiled copy of the packages in a directory of its own: `compiled_copy.py DIRECTORY`.

The copy holds every module and data file of `extra` and `broker`, and goes before the sources on PYTHONPATH.
It stands apart because an extension beside its source wins over the source, however old it is. It is built
again when something that goes into it has changed, and only then. Where it cannot be compiled it is pure
Python, or with EXTRA_MYPYC=1 an error.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("broker", "extra")
SETTINGS = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "EXTRA_CFLAGS")


def source_files() -> Iterator[Path]:
    """Yield what goes into a build, in a fixed order."""
    yield from (ROOT / name for name in ("compiled.txt", "pyproject.toml", "setup.py"))
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and path.suffix not in (".pyc", ".so"):
                yield path


def digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in source_files():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def digest_of_tools() -> str:
    settings = [f"{name}={os.environ.get(name, '')}" for name in SETTINGS]
    compiler = shutil.which("cc") or shutil.which("gcc") or "none"
    return hashlib.sha256("\n".join([sys.version, version("mypy"), compiler, *settings]).encode()).hexdigest()


def bring_up_to_date(copy: Path) -> None:
    """Build into `copy` unless it holds this very build; a pure Python one will do unless EXTRA_MYPYC=1."""
    state = copy.with_suffix(".built")
    sources, tools = digest_of_sources(), digest_of_tools()
    found = state.read_text().split() if state.exists() and copy.is_dir() else ["", "", ""]
    if found[:2] == [sources, tools] and (found[2] == "compiled" or os.environ.get("EXTRA_MYPYC") != "1"):
        return
    print(f"make: building {copy}; the first time this takes a minute", flush=True)
    state.unlink(missing_ok=True)
    if found[1] != tools:  # setuptools goes by the dates of files, and would keep what other tools have made
        shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build", "--build-lib", copy],
        cwd=ROOT,
        check=True,
    )
    mode = "compiled" if any(copy.rglob("*.so")) else "interpreted"
    state.write_text(f"{sources} {tools} {mode}\n")


def main() -> int:
    copy = Path(sys.argv[1]).resolve()
    copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once would build into the same files
        try:
            bring_up_to_date(copy)
        except subprocess.CalledProcessError as error:
            return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
