"""Throw-away certificates for TLS on loopback."""

import ssl
from pathlib import Path

from msgspec import Struct

from rotary_stack.workspace import write_private


class Certificates(Struct, frozen=True):
    """Paths of PEM files: the authority that clients trust, and the server's certificate chain and private key."""

    authority: Path
    certificate: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


def certificates_in(directory: Path) -> Certificates:
    """Where `make_certificates` writes them."""
    return Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")


def make_certificates(directory: Path) -> Certificates:
    """Creates `directory` with a certificate for 127.0.0.1 and localhost. The authority's key is never written."""
    import trustme  # noqa: PLC0415 - with a library of cryptography, which few stacks need

    directory.mkdir(mode=0o700)
    made = certificates_in(directory)
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    write_private(made.authority, authority.cert_pem.bytes().decode())
    write_private(made.certificate, "".join(blob.bytes().decode() for blob in server.cert_chain_pems))
    write_private(made.key, server.private_key_pem.bytes().decode())
    return made
