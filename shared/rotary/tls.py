"""TLS: whose certificates our clients believe, and what to say of a server whose certificate they do not."""

import ssl
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from rotary.errors import ConfigurationError

_PARAMETER = {"amqps": "cafile", "rediss": "ssl_ca_certs"}
"""How the clients of these servers are told in a URL; the others' URLs have no certificate to believe."""


def with_ca_file(url: str, ca_file: str) -> str:
    """The URL of a server whose certificate the authorities in `ca_file` must vouch for, they and nobody else.

    As it is when it speaks no TLS, names authorities itself, or `ca_file` is empty: then the system's are believed.
    """
    parts = urlsplit(url)
    parameter = _PARAMETER.get(parts.scheme)
    if not ca_file or parameter is None or f"{parameter}=" in parts.query:
        return url
    query = "&".join(filter(None, (parts.query, f"{parameter}={quote(ca_file)}")))
    return parts._replace(query=query).geturl()


def client_context(ca_file: str) -> ssl.SSLContext:
    """Believes the authorities in `ca_file`, PEM, and nobody else; the system's if it is empty.

    Raises ConfigurationError when the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"ROTARY_CA_FILE is to be a PEM file of certificates, not {ca_file}: {why}") from error


def certificate_error(error: BaseException | None) -> str | None:
    """Why a connection is not believed, if that is what broke it: trying again would break it in the same way.

    Looks behind the errors of clients, which wrap the one of TLS, and may link theirs in a circle.
    """
    return next((why for one in _behind(error) if (why := _reason(one))), None)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it, each once."""
    known: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in known:
            known.add(id(one))
            yield one
            pending += (one.__context__, one.__cause__)


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        # OpenSSL's words in the clear; str(error) adds where in C it was raised.
        return (
            f"its certificate is not believed ({error.verify_message}): "
            "name the file of its authority (ROTARY_CA_FILE; the publisher's ssl_context)"
        )
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "it does not speak TLS on this port: give its TLS port, or a URL without the s in its scheme"
    return None
