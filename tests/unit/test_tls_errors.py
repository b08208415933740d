"""Whom a client believes: a CA file goes into the URLs that speak TLS, and a failure of TLS is told for what it is."""

import ssl
from pathlib import Path

import pytest
from msgspec import Struct

from rotary.errors import ConfigurationError
from rotary.runtime.settings import CaFile, PostgresUrl, RabbitUrl, RedisUrl, load
from rotary.tls import certificate_error, client_context, with_ca_file


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("amqps://u:p@h/v", "amqps://u:p@h/v?cafile=/etc/ca%201.pem"),
        ("amqps://u:p@h/v?heartbeat=5", "amqps://u:p@h/v?heartbeat=5&cafile=/etc/ca%201.pem"),
        ("amqps://u:p@h/v?cafile=/own.pem", "amqps://u:p@h/v?cafile=/own.pem"),
        ("rediss://h:6380/0", "rediss://h:6380/0?ssl_ca_certs=/etc/ca%201.pem"),
        ("amqp://u:p@h/v", "amqp://u:p@h/v"),
        ("redis://h/0", "redis://h/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("postgresql://h/d?sslmode=verify-full", "postgresql://h/d?sslmode=verify-full"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
def test_a_ca_file_goes_into_the_urls_that_speak_tls(url: str, trusted: str) -> None:
    assert with_ca_file(url, "/etc/ca 1.pem") == trusted
    assert with_ca_file(url, "") == url


class Settings(Struct):
    rabbitmq_url: RabbitUrl
    redis_url: RedisUrl
    postgres_url: PostgresUrl
    ca_file: CaFile = ""


URLS = {
    "ROTARY_RABBITMQ_URL": "amqps://h/",
    "ROTARY_REDIS_URL": "rediss://h",
    "ROTARY_POSTGRES_URL": "postgresql://h/d",
}


def test_settings_hand_it_to_every_url_beside_it() -> None:
    ca_file = ssl.get_default_verify_paths().openssl_cafile
    if not Path(ca_file).exists():
        ca_file = str(next(Path("/etc/ssl/certs").glob("*.pem")))
    loaded = load(Settings, URLS | {"ROTARY_CA_FILE": ca_file})
    assert loaded.rabbitmq_url == f"amqps://h/?cafile={ca_file}"
    assert loaded.redis_url == f"rediss://h?ssl_ca_certs={ca_file}"
    assert loaded.postgres_url == "postgresql://h/d"
    assert load(Settings, URLS).rabbitmq_url == "amqps://h/"


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("", "no certificate"), ("nonsense", "no cert")])
def test_a_ca_file_that_is_none_is_told_at_once(content: str | None, why: str, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"^ROTARY_CA_FILE is invalid; .*{ca_file}: .*{why}"):
        load(Settings, URLS | {"ROTARY_CA_FILE": str(ca_file)})


def test_the_systems_authorities_are_believed_unless_told() -> None:
    context = client_context("")
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_only_what_waiting_cannot_mend_is_distrust() -> None:
    assert certificate_error(None) is None
    assert certificate_error(ConnectionRefusedError(111, "refused")) is None
    assert certificate_error(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")) is None
    wrapped = OSError("wrapped")
    wrapped.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed")
    wrapped.__cause__.verify_message = "self-signed certificate"
    assert "self-signed certificate" in str(certificate_error(wrapped))


def test_errors_that_are_linked_in_a_circle_are_looked_through_once() -> None:
    first, second = OSError("first"), RuntimeError("second")
    first.__cause__, second.__context__ = second, first
    assert certificate_error(first) is None
    second.__cause__ = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert "does not use TLS" in str(certificate_error(first))


def test_an_error_that_is_its_own_cause_is_looked_through_once() -> None:
    error = OSError("own")
    error.__cause__ = error
    assert certificate_error(error) is None
