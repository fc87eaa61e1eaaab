"""Builds the distribution: the modules that compiled.txt names become extensions when that can be done.

Everything else about the distribution stands in pyproject.toml. What `EXTRA_MYPYC` asks for:

    auto    compile, and when that cannot be done say why and leave every module pure Python; the default.
            An editable install stays pure Python: an extension beside its source would outlive the next edit.
    1       compile, whatever the kind of install; a failure ends the build.
    0       pure Python.

`EXTRA_CFLAGS` adds options for the C compiler. Compiled is all or nothing: the modules are one unit, and no
build leaves some of them behind, neither its own after a failure nor those of a build before it.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import cast

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CCompilerError

ROOT = Path(__file__).resolve().parent
LIST = "compiled.txt"
PACKAGES = ("broker", "extra")
UNIT = "extra_broker"
"""Names the compilation unit: the shared library is `extra_broker__mypyc`, whatever the list holds."""

BUILDING = {"bdist_wheel", "build", "build_ext", "editable_wheel", "install"}
"""The commands that put modules somewhere; the others (metadata, a source distribution) need no C made."""


def setting() -> str:
    """Return what `EXTRA_MYPYC` asks for."""
    value = os.environ.get("EXTRA_MYPYC") or "auto"
    if value not in ("auto", "1", "0"):
        raise SystemExit(f"EXTRA_MYPYC is {value!r}: it takes auto, 1 or 0")
    return value


def listed_modules(lines: Iterable[str]) -> list[str]:
    """Return the paths that the lines of compiled.txt name; each must be a file of the project."""
    paths = [path for line in lines if (path := line.partition("#")[0].strip())]
    missing = [path for path in paths if not (ROOT / path).is_file()]
    if missing:
        raise SystemExit(f"{LIST} names what is not there: {', '.join(missing)}")
    return paths


def give_up(reason: str) -> None:
    """Say why nothing is compiled and how to choose; where compiling was asked for, end the build with it."""
    if setting() == "1":
        raise SystemExit(f"extra: not compiled, as EXTRA_MYPYC=1 asks: {reason}")
    print(f"extra: pure Python, not compiled: {reason} (EXTRA_MYPYC=1 insists on compiling, 0 never tries)")


def extensions(commands: Iterable[str]) -> list[Extension]:
    """Translate the listed modules to C for these commands of setuptools; an empty list is pure Python."""
    wanted = BUILDING.intersection(commands)
    paths = listed_modules((ROOT / LIST).read_text().splitlines())
    if setting() == "0" or not wanted or not paths:
        return []
    if setting() == "auto" and "editable_wheel" in wanted:
        give_up("an editable install runs from its sources")
        return []
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        give_up(f"mypyc cannot be imported: {error}")
        return []
    try:
        made = mypycify(paths, group_name=UNIT, opt_level="3", debug_level="0")
    except SystemExit:  # the way mypyc ends when it refuses a module, having printed why
        give_up("mypyc refuses the modules, for the reasons above")
        return []
    except Exception as error:  # noqa: BLE001 - whatever breaks inside the compiler, the sources still run
        give_up(f"mypyc broke: {error!r}")
        return []
    for extension in made:
        extension.extra_compile_args += shlex.split(os.environ.get("EXTRA_CFLAGS", ""))
    return cast("list[Extension]", made)  # of the two kinds that mypyc knows, setuptools's, as that is loaded


class BuildPy(build_py):
    """Copies into an empty place, so that a module that was deleted or renamed is not shipped for ever."""

    def run(self) -> None:
        spared = ".so" if self.distribution.has_ext_modules() else ""  # BuildExt makes only what has changed
        for path in earlier_build(self.build_lib):
            if path.suffix != spared:
                path.unlink()
        super().run()


class BuildExt(build_ext):
    """Compiles every extension or none, and leaves none behind but its own."""

    def run(self) -> None:
        if not self.inplace:
            self.keep_only({Path(path).resolve() for path in self.get_outputs()})
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as error:
            self.keep_only(set())
            self.distribution.ext_modules = self.extensions = []
            give_up(f"the C compiler does not work: {in_short(error)}")

    def keep_only(self, wanted: set[Path]) -> None:
        for path in earlier_build(self.build_lib):
            if path.suffix == ".so" and path not in wanted:
                path.unlink()


class BdistWheel(bdist_wheel):
    """Names the wheel after the build, not before: it is for any machine when nothing was compiled."""

    def run(self) -> None:
        if not self.skip_build:
            self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


def earlier_build(directory: str) -> list[Path]:
    """Return the files that a build has put into a directory; none where the sources themselves are."""
    target = Path(directory).resolve()
    if target == ROOT:
        return []
    paths = [target.glob(f"{UNIT}__mypyc.*"), *((target / package).rglob("*") for package in PACKAGES)]
    return [path for path in chain(*paths) if path.is_file()]


def in_short(error: Exception) -> str:
    """Return what became of the compiler, not the whole command that setuptools quotes."""
    match error.__context__:
        case FileNotFoundError(filename=name):
            return f"there is no {name} here"
        case subprocess.CalledProcessError(cmd=[name, *_], returncode=status):
            return f"{name} ended with status {status}"
        case _:
            return str(error)


if __name__ == "__main__":
    setup(
        ext_modules=extensions(sys.argv[1:]),
        cmdclass={"build_py": BuildPy, "build_ext": BuildExt, "bdist_wheel": BdistWheel},
    )
