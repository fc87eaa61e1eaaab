"""Which files are watched, and what their change does."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb

import pytest

from extra import Service, Services, on
from extra.commands.generations import Generations
from extra.commands.loading import Loaded, LoadError, find, host
from extra.commands.watching import Watched, reload, reload_on_change, traceback_of
from tests.fakes.asgi import until

HERE = Path("/srv/app")


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/srv/app/rooms.py", True),
        ("/srv/app/deep/er/rooms.py", True),
        ("/srv/app/page.html", True),
        ("/srv/app/notes.txt", False),
        ("/srv/app/.git/x.py", False),
        ("/srv/app/.rooms.py.swp", False),
        ("/srv/app/__pycache__/rooms.py", False),
        ("/srv/app/node_modules/a/b.py", False),
        ("/srv/app/drafts/rooms.py", False),
        ("/srv/app/.venv/lib/site-packages/x.py", False),
        ("/elsewhere/rooms.py", False),
    ],
)
def test_what_counts(path: str, counts: bool) -> None:
    watched = Watched((HERE,), includes=("*.html",), excludes=("drafts",))
    assert watched.watches(path) == counts


def test_directory_that_is_watched_may_lie_in_a_hidden_one() -> None:
    assert Watched((Path("/home/me/.work/app"),)).watches("/home/me/.work/app/rooms.py")


class First(Service):
    @on(GET="/")
    async def show(self) -> str:
        return "first"


@dataclass(frozen=True, slots=True)
class Told(Watched):
    """Changes when it is told to."""

    queue: "asyncio.Queue[list[str]]" = None  # type: ignore[assignment]  # always given

    async def changes(self) -> AsyncIterator[list[str]]:
        while True:
            yield await self.queue.get()


async def test_each_change_is_another_try(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    queue: asyncio.Queue[list[str]] = asyncio.Queue()
    loads: list[Loaded | Exception] = [SyntaxError("oh"), LoadError("no such"), host(Services(First))]

    def load() -> Loaded:
        found = loads.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async with Generations(host(Services(First))) as generations:
        working = asyncio.create_task(reload_on_change(generations, load, Told((HERE,), queue=queue)))
        await until(lambda: "watches /srv/app" in caplog.text)
        for words in ("SyntaxError: oh", "no such; the application", "INFO"):
            queue.put_nowait(["/srv/app/a.py"])
            left = len(loads)
            await until(lambda left=left, words=words: len(loads) < left and words in caplog.text)  # type: ignore[misc]  # bound now
        await until(lambda: "reloaded after a.py changed" in caplog.messages)
        working.cancel()
        await asyncio.wait([working])
    assert caplog.text.count("serves on") == 2


class Hanging(First):
    async def start(self) -> None:
        await asyncio.Event().wait()


async def test_one_that_does_not_come_to_start_keeps_no_later_one_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    queue: asyncio.Queue[list[str]] = asyncio.Queue()
    loads = [host(Services(Hanging)), host(Services(First))]
    async with Generations(host(Services(First))) as generations:
        told = Told((HERE,), queue=queue)
        working = asyncio.create_task(reload_on_change(generations, lambda: loads.pop(0), told))
        queue.put_nowait(["/srv/app/a.py"])
        await until(lambda: len(loads) == 1)
        queue.put_nowait(["/srv/app/b.py"])
        await until(lambda: "reloaded after b.py changed" in caplog.messages)
        assert "changed again before the application has started" in caplog.text
        await until(lambda: generations.living == 1)
        working.cancel()
        await asyncio.wait([working])


async def test_many_files_are_named_in_part(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Generations(host(Services(First))) as generations:
        paths = [f"/srv/app/{name}.py" for name in "abcde"]
        assert await reload(generations, lambda: host(Services(First)), nullcontext(), paths)
    assert "reloaded after a.py, b.py, c.py and 2 more changed" in caplog.messages


def test_traceback_begins_with_the_code_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "failing_module.py").write_text("def fail():\n    1 / 0\nfail()\n")
    try:
        find("failing_module", directory=str(tmp_path))
    except ZeroDivisionError as error:
        _, _, trace = traceback_of(error)
        frames = [frame.f_code.co_filename for frame, _ in walk_tb(trace)]
        assert frames[0] == __file__  # which stands for whoever calls
        error.__traceback__ = trace.tb_next if trace is not None else None
        _, _, trace = traceback_of(error)
        assert [Path(frame.f_code.co_filename).name for frame, _ in walk_tb(trace)] == 2 * [
            "failing_module.py"
        ]
    finally:
        sys.path.remove(str(tmp_path))
