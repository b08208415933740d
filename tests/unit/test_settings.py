"""Settings: a wrong one is named on one line with the form wanted; its value, which may be a secret, is not told."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from rotary.errors import ConfigurationError, RotaryError
from rotary.runtime.settings import (
    Bind,
    Count,
    PostgresUrl,
    RabbitUrl,
    RedisUrl,
    Seconds,
    bind_address,
    load,
    variable,
)


class Settings(Struct, frozen=True):
    redis_url: RedisUrl
    postgres_url: PostgresUrl = "postgresql:///rotary"
    rabbitmq_url: RabbitUrl = "amqp://localhost"
    api_bind: Bind = "127.0.0.1:8080"
    grace: Seconds = 10.0
    prefetch: Count = 500
    offset: int = 0
    access_log: bool = False
    log_format: Literal["console", "json"] = "console"
    cors_origin: str = ""
    label: Annotated[str, Meta(max_length=3)] = "abc"


def loaded(**environ: str) -> Settings:
    return load(Settings, {"ROTARY_REDIS_URL": "redis://localhost:6379/0"} | environ)


def test_what_is_not_set_has_its_default() -> None:
    assert loaded() == Settings("redis://localhost:6379/0")


def test_what_is_set_to_nothing_is_not_set() -> None:
    assert loaded(ROTARY_PREFETCH="", ROTARY_API_BIND="") == Settings("redis://localhost:6379/0")


def test_other_variables_are_nobodys_business() -> None:
    assert loaded(ROTARY_UNHEARD_OF="1", PREFETCH="x", rotary_prefetch="x") == loaded()


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("redis_url", "rediss://user:secret@cache.example:6380/1", "rediss://user:secret@cache.example:6380/1"),
        ("redis_url", "unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("postgres_url", "postgres://u:p@h:5432/d", "postgres://u:p@h:5432/d"),
        ("rabbitmq_url", "amqps://u:p@h/v", "amqps://u:p@h/v"),
        ("api_bind", "0.0.0.0:80", "0.0.0.0:80"),
        ("api_bind", "[::1]:8080", "[::1]:8080"),
        ("api_bind", "localhost:0", "localhost:0"),
        ("grace", "0.5", 0.5),
        ("grace", "3", 3.0),
        ("prefetch", "1", 1),
        ("offset", "-3", -3),
        ("access_log", "true", True),
        ("access_log", "1", True),
        ("access_log", "false", False),
        ("log_format", "json", "json"),
        ("cors_origin", "null", "null"),
        ("cors_origin", "5", "5"),
    ],
)
def test_a_text_of_the_right_form_becomes_a_value(field: str, text: str, value: object) -> None:
    assert getattr(loaded(**{variable(field): text}), field) == value


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("ROTARY_REDIS_URL", "localhost:6379", "redis://[user:password@]host:port/0"),
        ("ROTARY_REDIS_URL", "redis://", "redis://[user:password@]host:port/0"),
        ("ROTARY_REDIS_URL", "http://localhost", "redis://[user:password@]host:port/0"),
        ("ROTARY_POSTGRES_URL", "mysql://hunter2@h/d", "postgresql://user:password@host:port/database"),
        ("ROTARY_RABBITMQ_URL", "http://hunter2@h", "amqp://user:password@host:port/vhost"),
        ("ROTARY_API_BIND", "8080", "host:port"),
        ("ROTARY_API_BIND", ":8080", "host:port"),
        ("ROTARY_API_BIND", "localhost", "host:port"),
        ("ROTARY_API_BIND", "localhost:http", "host:port"),
        ("ROTARY_API_BIND", "::1:8080", "host:port"),
        ("ROTARY_API_BIND", "localhost:123456", "host:port"),
        ("ROTARY_GRACE", "soon", "a number of seconds"),
        ("ROTARY_PREFETCH", "0", "a whole number, 1 or more"),
        ("ROTARY_PREFETCH", "-1", "a whole number, 1 or more"),
        ("ROTARY_PREFETCH", "1.5", "a whole number, 1 or more"),
        ("ROTARY_PREFETCH", "many", "a whole number, 1 or more"),
        ("ROTARY_OFFSET", "1h", "a whole number"),
        ("ROTARY_ACCESS_LOG", "yes", "true or false"),
        ("ROTARY_LOG_FORMAT", "xml", "console or json"),
        ("ROTARY_LABEL", "hunter2", "text"),
    ],
)
def test_a_text_of_another_form_is_refused_without_telling_it(name: str, text: str, form: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(**{name: text})
    assert str(refused.value) == f"{name} is invalid; expected {form}"
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__, "a traceback would tell the value"


@pytest.mark.parametrize("environ", [{}, {"ROTARY_REDIS_URL": ""}])
def test_a_setting_without_a_default_must_be_there(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(Settings, environ)
    assert str(refused.value) == "ROTARY_REDIS_URL is not set; expected redis://[user:password@]host:port/0"
    assert isinstance(refused.value, RotaryError)


BINDS = [("127.0.0.1:8080", "127.0.0.1", 8080), ("localhost:0", "localhost", 0), ("[::1]:80", "::1", 80)]


@pytest.mark.parametrize(("bind", "host", "port"), BINDS)
def test_a_bind_address_is_a_host_and_a_port(bind: str, host: str, port: int) -> None:
    assert bind_address(bind) == (host, port)


def test_a_field_names_its_variable() -> None:
    assert variable("redis_url") == "ROTARY_REDIS_URL"
