"""Settings from the environment: one frozen Struct a program, each field one variable.

A field `redis_url: RedisUrl` is read from `ROTARY_REDIS_URL`. What is missing or has the wrong form is a
ConfigurationError of one line that names the variable and the form wanted.
"""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from rotary.errors import ConfigurationError

PREFIX = "ROTARY_"

PostgresUrl = Annotated[
    str, Meta(pattern=r"^postgres(ql)?://.+", description="postgresql://user:password@host:port/database")
]
RedisUrl = Annotated[str, Meta(pattern=r"^(rediss?|unix)://.+", description="redis://[user:password@]host:port/0")]
RabbitUrl = Annotated[str, Meta(pattern=r"^amqps?://.+", description="amqp://user:password@host:port/vhost")]
Bind = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$", description="host:port")]
Seconds = Annotated[float, Meta(description="a number of seconds")]
Count = Annotated[int, Meta(ge=1, description="a whole number, 1 or more")]

S = TypeVar("S", bound=Struct)


def variable(field: str) -> str:
    """The environment variable that a settings field is read from."""
    return PREFIX + field.upper()


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Reads every field of `kind` from `environ`. Raises ConfigurationError for the first that does not fit."""
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        text = environ.get(variable(field.name), "")
        if text:
            values[field.name] = _convert(text, field)
        elif field.required:
            raise ConfigurationError(f"{variable(field.name)} is not set: give it as {_form(field)}")
    return msgspec.convert(values, kind)


def _convert(text: str, field: msgspec.structs.FieldInfo) -> object:
    try:
        value: object = msgspec.convert(text, field.type, strict=False)
    except msgspec.ValidationError:
        raise ConfigurationError(f"{variable(field.name)} is not of the form wanted: {_form(field)}") from None
    return value


def _form(field: msgspec.structs.FieldInfo) -> str:
    described = msgspec.json.schema(field.type)
    if "description" in described:
        return str(described["description"])
    if "enum" in described:
        return " or ".join(map(str, described["enum"]))
    return {"boolean": "true or false", "integer": "a whole number"}.get(described.get("type", ""), "text")


def bind_address(bind: str) -> tuple[str, int]:
    """Splits `host:port`; an IPv6 host stands in brackets."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)
