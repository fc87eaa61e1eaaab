"""What connections are secured with, from the options."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from extra.commands.options import OptionError, RunOptions
from extra.commands.tls import tls_context


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certificate and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def test_without_a_certificate_there_is_nothing() -> None:
    assert tls_context(RunOptions()) is None


def test_versions_and_requirements(pem: str) -> None:
    context = tls_context(RunOptions(ssl_certfile=pem))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    context = tls_context(
        RunOptions(ssl_certfile=pem, ssl_version="1.3", ssl_cert_reqs="optional", ssl_ca_certs=pem)
    )
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_OPTIONAL


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ssl_certfile": "/nowhere.pem"}, "ssl_certfile"),
        ({"ssl_certfile": __file__}, "ssl_certfile"),
        ({"ssl_keyfile": "key.pem"}, "ssl_keyfile"),
        ({"ssl_cert_reqs": "required"}, "ssl_cert_reqs"),
        ({"ssl_certfile": "PEM", "ssl_cert_reqs": "required"}, "ssl_cert_reqs"),
        ({"ssl_certfile": "PEM", "ssl_ca_certs": "/nowhere.pem"}, "ssl_ca_certs"),
        ({"ssl_certfile": "PEM", "ssl_ca_certs": __file__}, "ssl_ca_certs"),
        ({"ssl_certfile": "PEM", "ssl_ciphers": "nothing at all"}, "ssl_ciphers"),
    ],
)
def test_what_cannot_be_used_names_its_option(pem: str, options: dict[str, Any], name: str) -> None:
    given: dict[str, Any] = {key: pem if value == "PEM" else value for key, value in options.items()}
    with pytest.raises(OptionError) as caught:
        tls_context(RunOptions(**given))
    assert caught.value.name == name


def test_file_that_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match="nowhere"):
        tls_context(RunOptions(ssl_certfile=str(Path("/nowhere.pem"))))
