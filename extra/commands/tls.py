"""TLS from the options whose names begin with `ssl`."""

import ssl
from typing import Final

from extra.commands.options import OptionError, RunOptions

__all__ = ["tls_context"]

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
REQUIREMENTS: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def tls_context(options: RunOptions) -> ssl.SSLContext | None:
    """Return what connections are secured with, None where no certificate is named. Reads the files.

    Raises:
        OptionError: a file cannot be read or does not fit, or an option needs another one.
    """
    if not options.ssl_certfile:
        for name in ("ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs", "ssl_ciphers"):
            if getattr(options, name):
                raise OptionError(name, "needs a certificate, ssl-certfile")
        if options.ssl_cert_reqs != "none":
            raise OptionError("ssl_cert_reqs", "needs a certificate, ssl-certfile")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[options.ssl_version]
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(
            options.ssl_certfile, options.ssl_keyfile or None, options.ssl_keyfile_password or None
        )
    except ssl.SSLError as error:
        files = options.ssl_certfile + (f" with {options.ssl_keyfile}" if options.ssl_keyfile else "")
        reason = error.reason or "not a certificate and its key in PEM, or the password is wrong"
        raise OptionError("ssl_certfile", f"{files} cannot be used: {reason}") from None
    except OSError as error:
        files = " or ".join(filter(None, (options.ssl_certfile, options.ssl_keyfile)))
        raise OptionError("ssl_certfile", f"{files} cannot be read: {error.strerror}") from None
    context.verify_mode = REQUIREMENTS[options.ssl_cert_reqs]
    if options.ssl_ca_certs:
        try:
            context.load_verify_locations(options.ssl_ca_certs)
        except OSError as error:  # SSLError is one
            raise OptionError("ssl_ca_certs", f"{options.ssl_ca_certs} cannot be used: {error}") from None
    elif options.ssl_cert_reqs != "none":
        raise OptionError("ssl_cert_reqs", "needs to know who signs, ssl-ca-certs")
    if options.ssl_ciphers:
        try:
            context.set_ciphers(options.ssl_ciphers)
        except ssl.SSLError:
            raise OptionError("ssl_ciphers", f"{options.ssl_ciphers!r} names no cipher") from None
    return context
