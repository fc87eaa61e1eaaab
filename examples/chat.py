"""A chat in the browser: every room is a topic. All of it is in the page; this only serves it."""

from examples.pages import parse_arguments, run, serve_page

if __name__ == "__main__":
    arguments = parse_arguments(__doc__)
    run(serve_page("chat.html", arguments.url, arguments.port))
