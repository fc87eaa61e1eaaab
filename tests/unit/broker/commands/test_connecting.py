"""What the client commands share: which broker they talk to, and where the client's warnings go."""

import logging
import sys
from types import ModuleType

import pytest

from broker.commands.connecting import make_client
from broker.commands.options import UsageError


@pytest.fixture(autouse=True)
def _client_that_is_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts one in the client's place that is the URL it is made for."""

    def make(url: str) -> str:
        if "://" not in url:
            raise ValueError(f"url {url!r} is not http(s):// or ws(s):// and a host")
        return url

    module = ModuleType("extra.client")
    vars(module)["Client"] = make
    monkeypatch.setitem(sys.modules, "extra.client", module)
    monkeypatch.delenv("EXTRA_BROKER_URL", raising=False)


def url_for(options: dict[str, str]) -> str:
    return str(make_client(options))


def test_broker_on_this_machine_is_the_default() -> None:
    assert url_for({}) == "http://127.0.0.1:8080"


def test_url_comes_from_the_option_or_else_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA_BROKER_URL", "http://one")
    assert url_for({}) == "http://one"
    assert url_for({"--url": "http://two"}) == "http://two"


def test_url_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--url: url 'broker' is not http"):
        make_client({"--url": "broker"})


def test_warnings_of_the_client_are_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    make_client({})
    logging.getLogger("extra.client").warning("lost the connection to %s", "http://one")
    logging.getLogger("extra.client").info("connected")
    assert capsys.readouterr().err == "extra-broker: lost the connection to http://one\n"
