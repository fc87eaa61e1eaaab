"""The build: what setup.py makes of settings and failures, when the compiled copy is made again, and that the
modules run in the mode that `extra.COMPILED` tells.
"""

import importlib
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import extra

pytest.importorskip("setuptools", minversion="77", reason="the build needs setuptools 77")
from setuptools import Distribution, Extension

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """Import one of the project's scripts."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = load("setup.py")
compiled_copy = load("scripts/compiled_copy.py")

COMPILED_PATHS: list[str] = setup.listed_modules((ROOT / setup.LIST).read_text().splitlines())


@pytest.mark.parametrize("path", COMPILED_PATHS)
def test_listed_module_runs_in_the_mode_that_extra_tells(path: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert module.__file__ is not None
    assert module.__file__.endswith(".so") == extra.COMPILED


class TestSetting:
    def test_is_auto_unless_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EXTRA_MYPYC", raising=False)
        assert setup.setting() == "auto"

    def test_of_another_value_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "yes")
        with pytest.raises(SystemExit, match="EXTRA_MYPYC is 'yes': it takes auto, 1 or 0"):
            setup.setting()


class TestListedModules:
    def test_leave_out_comments_and_blank_lines(self) -> None:
        lines = ["# modules", "", "extra/errors.py  # the tree", "extra/payloads.py"]
        assert setup.listed_modules(lines) == ["extra/errors.py", "extra/payloads.py"]

    def test_must_exist(self) -> None:
        with pytest.raises(SystemExit, match=r"compiled.txt names what is not there: extra/nowhere.py"):
            setup.listed_modules(["extra/errors.py", "extra/nowhere.py"])


class TestExtensions:
    @pytest.fixture
    def mypyc_that(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
        """Put a mypyc in place that ends with the given error."""

        def install(error: BaseException) -> None:
            def mypycify(*_: object, **__: object) -> None:
                raise error

            monkeypatch.setitem(sys.modules, "mypyc.build", SimpleNamespace(mypycify=mypycify))

        return install

    @pytest.mark.parametrize("command", ["egg_info", "dist_info", "sdist", "build_py"])
    def test_are_not_made_for_what_needs_none(
        self, command: str, mypyc_that: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "1")
        mypyc_that(AssertionError("mypyc was run"))
        assert setup.extensions([command]) == []

    def test_are_not_made_when_told_not_to(
        self, mypyc_that: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "0")
        mypyc_that(AssertionError("mypyc was run"))
        assert setup.extensions(["bdist_wheel"]) == []

    def test_are_not_made_for_an_editable_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        assert setup.extensions(["editable_wheel"]) == []
        assert (
            "pure Python, not compiled: an editable install runs from its sources" in capsys.readouterr().out
        )

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (SystemExit(1), "mypyc refuses the modules"),
            (AssertionError("unreachable"), "mypyc broke: AssertionError('unreachable')"),
        ],
    )
    def test_are_none_when_mypyc_fails(
        self,
        error: BaseException,
        reason: str,
        mypyc_that: Callable[[BaseException], None],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        mypyc_that(error)
        assert setup.extensions(["bdist_wheel"]) == []
        assert reason in capsys.readouterr().out

    def test_end_the_build_when_mypyc_fails_and_compiling_was_asked_for(
        self, mypyc_that: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "1")
        mypyc_that(SystemExit(1))
        with pytest.raises(SystemExit, match="not compiled, as EXTRA_MYPYC=1 asks"):
            setup.extensions(["editable_wheel"])

    def test_are_none_without_mypyc(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        monkeypatch.setitem(sys.modules, "mypyc.build", None)
        assert setup.extensions(["bdist_wheel"]) == []
        assert "mypyc cannot be imported" in capsys.readouterr().out


class TestBuilding:
    """A package of one module and one extension, whose compiler is `false`."""

    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distribution:
        (tmp_path / "extra").mkdir()
        (tmp_path / "extra" / "__init__.py").touch()
        (tmp_path / "extra" / "hot.c").touch()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CC", "/bin/false")
        return Distribution(
            {
                "name": "sample",
                "version": "1",
                "packages": ["extra"],
                "ext_modules": [Extension("extra.hot", ["extra/hot.c"])],
                "script_name": "setup.py",
                "cmdclass": {
                    "build_py": setup.BuildPy,
                    "build_ext": setup.BuildExt,
                    "bdist_wheel": setup.BdistWheel,
                },
                "options": {"build": {"build_lib": "out"}},
            }
        )

    @pytest.mark.parametrize(
        ("compiler", "reason"),
        [("/bin/false", "/bin/false ended with status 1"), ("no-such-cc", "there is no no-such-cc here")],
    )
    def test_leaves_pure_python_without_a_compiler_that_works(
        self,
        compiler: str,
        reason: str,
        project: Distribution,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("CC", compiler)
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        project.run_command("build")
        assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["__init__.py"]
        assert f"pure Python, not compiled: the C compiler does not work: {reason}" in capsys.readouterr().out

    def test_fails_with_the_compiler_when_compiling_was_asked_for(
        self, project: Distribution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "1")
        with pytest.raises(
            SystemExit, match="not compiled, as EXTRA_MYPYC=1 asks: the C compiler does not work"
        ):
            project.run_command("build")

    def test_removes_what_a_build_before_left(
        self, project: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        (tmp_path / "out" / "extra").mkdir(parents=True)
        for name in ("gone.py", "gone.cpython-311-x86_64-linux-gnu.so"):
            (tmp_path / "out" / "extra" / name).touch()
        project.run_command("build")
        assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["__init__.py"]

    def test_removes_extensions_when_there_are_none_to_build(
        self, project: Distribution, tmp_path: Path
    ) -> None:
        project.ext_modules = []
        (tmp_path / "out" / "extra").mkdir(parents=True)
        (tmp_path / "out" / "extra" / "hot.cpython-311-x86_64-linux-gnu.so").touch()
        (tmp_path / "out" / "extra_broker__mypyc.cpython-311-x86_64-linux-gnu.so").touch()
        project.run_command("build")
        assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["__init__.py"]

    def test_never_takes_the_sources_for_what_was_built(self) -> None:
        assert setup.earlier_build(str(ROOT)) == []

    @pytest.mark.filterwarnings("ignore:setup.py install is deprecated")  # bdist_wheel itself uses it
    def test_names_a_wheel_without_extensions_for_any_machine(
        self, project: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        project.run_command("bdist_wheel")
        [wheel] = (tmp_path / "dist").iterdir()
        assert wheel.name == "sample-1-py3-none-any.whl"
        assert "extra/__init__.py" in zipfile.ZipFile(wheel).namelist()


class TestCompiledCopy:
    @pytest.fixture
    def builds(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Stand in for setup.py with a build that compiles nothing; the list grows with every build."""
        done: list[str] = []

        def run(command: list[str | Path], **_: object) -> None:
            copy = Path(command[-1])
            copy.mkdir(exist_ok=True)
            done.append(copy.name)

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setenv("EXTRA_MYPYC", "auto")
        return done

    def test_is_not_made_twice_of_the_same(self, builds: list[str], tmp_path: Path) -> None:
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        assert len(builds) == 1

    def test_is_made_again_with_other_compiler_options(
        self, builds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        monkeypatch.setenv("EXTRA_CFLAGS", "-march=native")
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        assert len(builds) == 2

    def test_in_pure_python_does_not_do_where_compiling_is_asked_for(
        self, builds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        monkeypatch.setenv("EXTRA_MYPYC", "1")
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        assert len(builds) == 2

    def test_that_was_removed_is_made_again(self, builds: list[str], tmp_path: Path) -> None:
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        (tmp_path / "copy").rmdir()
        compiled_copy.bring_up_to_date(tmp_path / "copy")
        assert len(builds) == 2
