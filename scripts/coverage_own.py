"""Prints how much of each module its own test file covers, run alone: `coverage_own.py [PATH ...]`.

A module that is reached only through the tests of others looks covered and is not: nothing says what it
promises. The test file of `extra/topics/tree.py` is `tests/unit/topics/test_tree.py`, for `broker/cli.py`
it is `tests/unit/broker/test_cli.py`. Lines and branches count. The exit status tells of tests that fail, not
of numbers.
"""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from coverage import Coverage
from coverage.exceptions import NoDataError

ROOT = Path(__file__).resolve().parent.parent
NOT_MODULES = ("__init__.py", "__main__.py")


def own_test_file(module: Path) -> Path:
    """Return where the test file of a module stands, both relative to the project."""
    parts = module.parts[1:] if module.parts[0] == "extra" else module.parts
    return Path("tests", "unit", *parts[:-1], f"test_{parts[-1]}")


def measure(module: Path) -> float | str:
    """Run the module's test file alone; return the percentage covered, or what came in between."""
    test_file = own_test_file(module)
    if not (ROOT / test_file).exists():
        return "no test file"
    with TemporaryDirectory() as scratch:
        data = Path(scratch, "coverage")
        measured = ["coverage", "run", "--branch", f"--include={module}", f"--data-file={data}"]
        tests = ["pytest", "-q", "-p", "no:cacheprovider", str(test_file)]
        run = subprocess.run(
            [sys.executable, "-m", *measured, "-m", *tests],
            cwd=ROOT,
            env={**os.environ, "EXTRA_EXPECT": "interpreted"},
            capture_output=True,
            check=False,
        )
        if run.returncode != 0:
            return "tests fail"
        result = Coverage(data_file=str(data), branch=True, include=[str(ROOT / module)])
        result.load()
        try:
            return result.report(file=io.StringIO())
        except NoDataError:
            return 0.0


def main() -> int:
    given = [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT / "extra", ROOT / "broker"]
    found = [path for top in given for path in ([top] if top.is_file() else sorted(top.rglob("*.py")))]
    modules = [path.relative_to(ROOT) for path in found if path.name not in NOT_MODULES]
    width = max((len(str(module)) for module in modules), default=0)
    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for module, result in zip(modules, workers.map(measure, modules), strict=True):
            failed = failed or result == "tests fail"
            print(
                f"{module!s:{width}}  {result if isinstance(result, str) else f'{result:5.1f} %'}", flush=True
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
