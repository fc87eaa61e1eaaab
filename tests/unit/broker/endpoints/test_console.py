"""The console's files: what there is, under which policy, and nothing beside them."""

import re

import pytest

from broker.endpoints.console import FOLDER, Console
from extra.http import NotFound
from tests.unit.broker.endpoints.driving import body_of, headers_of, make_request


async def ask(console: Console, file: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, str]:
    request = make_request("GET", f"/console/{file}", headers)
    request.params = {"file": file}
    response = await console.file(request)
    return response.status, body_of(response), response.content_type or ""


async def test_the_page_is_served_under_a_policy_that_lets_it_load_nothing_else() -> None:
    response = await Console().page(make_request("GET", "/"))
    assert response.status == 200
    assert response.content_type == "text/html; charset=utf-8"
    headers = headers_of(response)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


async def test_every_file_that_the_page_asks_for_is_there() -> None:
    console = Console()
    page = body_of(await console.page(make_request("GET", "/"))).decode()
    files = re.findall(r'(?:src|href)="/?console/([^"]+)"', page)
    assert files
    for file in files:
        status, body, content_type = await ask(console, file)
        assert (status, body) == (200, (FOLDER / file).read_bytes())
        assert content_type.startswith("text/")


@pytest.mark.parametrize("file", ["none.js", "..", "../daemon.py", "/etc/passwd", ".", ""])
async def test_there_is_nothing_else(file: str) -> None:
    with pytest.raises(NotFound):
        await ask(Console(), file)


async def test_what_a_browser_has_already_is_not_sent_again() -> None:
    """RFC 9110 13.1.2."""
    console = Console()
    tag = headers_of(await console.page(make_request("GET", "/")))["etag"]
    response = await console.page(make_request("GET", "/", {"If-None-Match": tag}))
    assert (response.status, response.body) == (304, b"")
    assert headers_of(response)["etag"] == tag
    assert (await console.page(make_request("GET", "/", {"If-None-Match": '"other"'}))).status == 200
