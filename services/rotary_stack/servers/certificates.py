"""Throw-away certificates: an authority that signs one server's certificate for loopback, and is then forgotten."""

import shutil
import ssl
from pathlib import Path

from msgspec import Struct

from rotary_stack.errors import StackError
from rotary_stack.spawn import Launch, run_to_end, server_environ

_DAYS = "7"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# Our own, so that what the machine's openssl.cnf adds to certificates is not in these.
_CONFIGURATION = """
[req]
distinguished_name = nobody
prompt = no
[nobody]
CN = rotary-stack
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1
"""


class Certificates(Struct, frozen=True):
    """Paths of PEM files: what clients trust, what the server shows, and the key only it has."""

    authority: Path
    certificate: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


def certificates_in(directory: Path) -> Certificates:
    """Where they are once made."""
    return Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")


async def make_certificates(directory: Path) -> Certificates:
    """Makes them, for 127.0.0.1 and localhost, in a directory that must not exist yet.

    Raises StackError when there is no openssl, StartFailedError when it fails.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise StackError("the program openssl is missing, which makes the certificates: install openssl")
    _make_room(directory)
    for arguments in _steps():
        launch = Launch(argv=(openssl, *arguments), environ=server_environ(), directory=directory)
        await run_to_end("openssl", launch, directory / "openssl.log")
    (directory / "ca.key").unlink()
    return certificates_in(directory)


def _make_room(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "openssl.cnf").write_text(_CONFIGURATION, encoding="utf-8")


def _steps() -> tuple[tuple[str, ...], ...]:
    config, days = ("-config", "openssl.cnf"), ("-days", _DAYS)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    return (
        ("req", "-x509", *_CURVE, *config, *days, "-extensions", "authority", "-keyout", "ca.key", "-out", "ca.pem"),
        ("req", "-new", *_CURVE, *config, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"),
        ("x509", "-req", "-in", "server.csr", *signing, *days, "-extfile", "openssl.cnf", "-extensions", "server",
         "-out", "server.pem"),
    )  # fmt: skip
