"""Folders as services."""

from pathlib import Path

import pytest

from extra.services import Files, Service, Services, on
from extra.testing import TestClient


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, and what is beside it, which nobody may see."""
    (tmp_path / "secret.txt").write_text("secret")
    public = tmp_path / "public"
    (public / "sub" / ".git").mkdir(parents=True)
    (public / "a b.txt").write_text("hello")
    (public / "index.html").write_text("home")
    (public / "sub" / "index.html").write_text("sub")
    (public / "sub" / ".git" / "config").write_text("hidden")
    (public / ".env").write_text("hidden")
    (public / "link.txt").symlink_to(tmp_path / "secret.txt")
    (public / "inside.txt").symlink_to(public / "a b.txt")
    (public / "out").symlink_to(tmp_path)
    (public / "a b.txt.gz").symlink_to(tmp_path / "secret.txt")
    (public / "circle").symlink_to("circle")
    (public / "empty").mkdir()
    return public


async def get(folder: Path, path: str, *, index: bool = True, prefix: str = "/static") -> tuple[int, str]:
    async with TestClient(Services(Files(folder, prefix=prefix, index=index))) as client:
        answer = await client.get(path)
        return answer.status, answer.text if answer.status == 200 else answer.header("location") or ""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/static/a%20b.txt", (200, "hello")),
        ("/static/inside.txt", (200, "hello")),
        ("/static/", (200, "home")),
        ("/static/sub/", (200, "sub")),
        ("/static/sub", (302, "/static/sub/")),
        ("/static", (302, "/static/")),
        ("/static/empty/", (404, "")),
        ("/static/empty", (404, "")),
        ("/static/nothing", (404, "")),
    ],
)
async def test_files_of_the_folder_are_served(folder: Path, path: str, found: tuple[int, str]) -> None:
    assert await get(folder, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2Fsecret.txt",
        "/static/%2e%2e%2fsecret.txt",
        "/static/sub/../../secret.txt",
        "/static/..%5csecret.txt",
        "/static//etc/passwd",
        "/static/%2Fetc%2Fpasswd",
        "/static/a%20b.txt%00.html",
        "/static/link.txt",
        "/static/out/secret.txt",
        "/static/.env",
        "/static/sub/.git/config",
        "/static/./a%20b.txt",
        "/static/circle",
        "/static/circle/a",
        pytest.param("/static/" + "a" * 5000, id="name too long"),
        pytest.param("/static/" + "a/" * 5000, id="path too long"),
    ],
)
async def test_nothing_else_is(folder: Path, path: str) -> None:
    assert (await get(folder, path))[0] == 404


async def test_link_in_place_of_a_compressed_copy_leads_nowhere_else(folder: Path) -> None:
    async with TestClient(Services(Files(folder))) as client:
        answer = await client.get("/static/a%20b.txt", headers={"accept-encoding": "gzip"})
        assert (answer.text, answer.header("content-encoding")) == ("hello", None)


async def test_folders_may_go_without_an_index(folder: Path) -> None:
    assert (await get(folder, "/static/", index=False))[0] == 404
    assert (await get(folder, "/static/sub", index=False))[0] == 404
    assert await get(folder, "/static/index.html", index=False) == (200, "home")


async def test_folder_may_be_all_there_is(folder: Path) -> None:
    assert await get(folder, "/", prefix="") == (200, "home")

    class Home(Service):
        @on(GET=["/", "/static"])
        async def home(self) -> str:
            return "other"

    async with TestClient(Services(Files(folder, prefix=""), Files(folder), Home)) as client:
        assert [(await client.get(path)).text for path in ("/", "/static", "/static/")] == [
            "other",
            "other",
            "home",
        ]
    assert (await get(folder, "//evil.example/%2e%2e", prefix=""))[0] == 404


async def test_file_that_is_known_is_not_sent_again(folder: Path) -> None:
    async with TestClient(Services(Files(folder))) as client:
        answer = await client.get("/static/a%20b.txt")
        assert answer.header("cache-control") == "no-cache"
        tag = answer.header("etag") or ""
        assert (await client.get("/static/a%20b.txt", headers={"if-none-match": tag})).status == 304
        assert (await client.request("HEAD", "/static/a%20b.txt")).status == 200
        assert (await client.post("/static/a%20b.txt")).status == 405


def test_folder_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Files(tmp_path / "nothing")


async def test_prefix_without_a_slash_is_a_folder_as_others(folder: Path) -> None:
    assert await get(folder, "/static", index=False) == (404, "")
    assert await get(folder, "/", prefix="") == (200, "home")
    (folder / "index.html").unlink()
    assert await get(folder, "/static") == (404, "")
