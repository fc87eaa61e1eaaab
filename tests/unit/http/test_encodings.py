import pytest

from extra.http.encodings import encodings_taken


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        (None, []),
        ("", []),
        ("gzip", ["gzip"]),
        ("gzip, br", ["br", "gzip"]),
        ("gzip;q=1, br;q=0.5", ["gzip", "br"]),
        ("br;q=0, *", ["gzip"]),
        ("*;q=0.1", ["br", "gzip"]),
        ("br;q=x, GZIP ; q=0.2", ["gzip"]),
        ("identity", []),
    ],
)
def test_client_takes_what_it_says(field: str | None, taken: list[str]) -> None:
    assert encodings_taken(field, ["br", "gzip"]) == taken
