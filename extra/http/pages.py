"""Errors as pages, for those who look at them in a browser."""

import traceback
from html import escape
from http import HTTPStatus

import msgspec

from extra.http.request import Request
from extra.http.response import Response

__all__ = ["as_page", "debug_response", "wants_page"]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 4rem auto; max-width: 60rem; padding: 0 1.5rem }}
  h1 {{ font-size: 1.4rem; margin: 0 }}
  p {{ opacity: .75 }}
  pre {{ background: #8882; border-radius: 6px; overflow: auto; padding: 1rem; font-size: .85rem }}
</style>
<h1>{title}</h1>
<p>{detail}</p>
{more}
</html>
"""

PROBLEM = "application/problem+json"


def wants_page(request: Request) -> bool:
    """Say whether the client is a browser that shows what it gets: it asks for HTML, and says so first."""
    accept = request.header("accept") or ""
    return accept.lstrip().lower().startswith(("text/html", "application/xhtml"))


def as_page(response: Response) -> Response:
    """Return a problem document as a page that says the same; any other response as it is."""
    if response.content_type != PROBLEM or not isinstance(response.body, bytes):
        return response
    document = msgspec.json.decode(response.body, type=dict[str, object])
    title = f"{response.status} {document.get('title', '')}"
    page = PAGE.format(title=escape(title), detail=escape(str(document.get("detail", ""))), more="")
    response.body = page.encode()
    response.content_type = "text/html; charset=utf-8"
    return response


def debug_response(error: Exception, request: Request, where: str) -> Response:
    """Return a response that shows all of what went wrong, for developers alone: a page, or text."""
    trace = "".join(traceback.format_exception(error))
    if not wants_page(request):
        return Response(500, f"{where}\n\n{trace}".encode(), content_type="text/plain; charset=utf-8")
    page = PAGE.format(
        title=escape(f"500 {HTTPStatus(500).phrase}: {type(error).__name__}"),
        detail=escape(where),
        more=f"<pre>{escape(trace)}</pre>",
    )
    return Response(500, page.encode(), content_type="text/html; charset=utf-8")
