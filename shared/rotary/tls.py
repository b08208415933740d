"""TLS: the certificate authorities that clients trust, and the error for an untrusted certificate."""

import ssl
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote, urlsplit

from rotary.errors import ConfigurationError

_PARAMETER = {"amqps": "cafile", "rediss": "ssl_ca_certs"}
"""The URL parameter that names the authority, by scheme. Other schemes use no certificate."""


def with_ca_file(url: str, ca_file: str) -> str:
    """The URL, with the authorities in `ca_file` as the only ones trusted.

    Returned unchanged when it does not use TLS, names authorities itself, or `ca_file` is empty; the system's
    authorities are trusted then.
    """
    parts = urlsplit(url)
    parameter = _PARAMETER.get(parts.scheme)
    if not ca_file or parameter is None or f"{parameter}=" in parts.query:
        return url
    query = "&".join(filter(None, (parts.query, f"{parameter}={quote(ca_file)}")))
    return parts._replace(query=query).geturl()


@cache
def client_context(ca_file: str) -> ssl.SSLContext:
    """Trusts only the authorities in `ca_file`, a PEM file; the system's if it is empty.

    They are read once. The system's are hundreds.

    Raises ConfigurationError when the file can't be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"ROTARY_CA_FILE is invalid; expected a PEM file of certificates: {ca_file}: {why}"
        ) from error


def certificate_error(error: BaseException | None) -> str | None:
    """Why TLS refused a connection, if it did; retrying would fail in the same way.

    Follows the chain of a client's errors, which may be circular, to the TLS error.
    """
    return next((why for one in _behind(error) if (why := _reason(one))), None)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, each once."""
    known: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in known:
            known.add(id(one))
            yield one
            pending += (one.__context__, one.__cause__)


def _reason(error: BaseException) -> str | None:
    # aiohttp's own error is of this type too, without the message. OpenSSL's is its cause.
    if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_message"):
        # OpenSSL's message alone; str(error) adds its C source line.
        return (
            f"its certificate is not trusted ({error.verify_message}): "
            "name its authority in ROTARY_CA_FILE, or pass an ssl_context"
        )
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "this port does not use TLS; use its TLS port, or a URL without the s in its scheme"
    return None
