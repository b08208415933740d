"""Settings from the environment: one frozen Struct for each program, one variable for each field.

A field `redis_url: RedisUrl` is read from `ROTARY_REDIS_URL`. A missing or invalid variable raises a ConfigurationError
of one line that names the variable and the expected form.
"""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from rotary.errors import ConfigurationError
from rotary.tls import client_context, with_ca_file

PREFIX = "ROTARY_"

PostgresUrl = Annotated[
    str, Meta(pattern=r"^postgres(ql)?://.+", description="postgresql://user:password@host:port/database")
]
RedisUrl = Annotated[str, Meta(pattern=r"^(rediss?|unix)://.+", description="redis://[user:password@]host:port/0")]
RabbitUrl = Annotated[str, Meta(pattern=r"^amqps?://.+", description="amqp://user:password@host:port/vhost")]
_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Bind = Annotated[str, Meta(pattern=rf"^(\[[0-9a-fA-F:]+\]|[^:\s]+):{_PORT}$", description="host:port")]
Networks = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Fa-f.:/,\s]*$",
        description="addresses or networks such as 10.0.0.0/8, separated by commas",
    ),
]
CaFile = Annotated[str, Meta(description="the path of a PEM file of certificates")]
Seconds = Annotated[float, Meta(ge=-1e9, le=1e9, description="a number of seconds")]
Count = Annotated[int, Meta(ge=1, description="a whole number, 1 or more")]

S = TypeVar("S", bound=Struct)


def variable(field: str) -> str:
    """The environment variable that a settings field is read from."""
    return PREFIX + field.upper()


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Reads every field of `kind` from `environ`. Raises ConfigurationError for the first invalid one.

    If there is a field `ca_file`, TLS URLs among the other fields are returned with it as their certificate authority.
    """
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        text = environ.get(variable(field.name), "")
        if text:
            values[field.name] = _convert(text, field)
        elif field.required:
            raise ConfigurationError(f"{variable(field.name)} is not set; expected {_form(field)}")
    return msgspec.convert(_trusting(values), kind)


def _trusting(values: dict[str, object]) -> dict[str, object]:
    ca_file = values.get("ca_file")
    if not isinstance(ca_file, str):
        return values
    client_context(ca_file)  # fails now if it can't be read
    return {name: with_ca_file(value, ca_file) if isinstance(value, str) else value for name, value in values.items()}


def _convert(text: str, field: msgspec.structs.FieldInfo) -> object:
    try:
        value: object = msgspec.convert(text, field.type, strict=False)
    except msgspec.ValidationError:
        raise ConfigurationError(f"{variable(field.name)} is invalid; expected {_form(field)}") from None
    return value


def _form(field: msgspec.structs.FieldInfo) -> str:
    described = msgspec.json.schema(field.type)
    if "description" in described:
        return str(described["description"])
    if "enum" in described:
        return " or ".join(map(str, described["enum"]))
    return {"boolean": "true or false", "integer": "a whole number"}.get(described.get("type", ""), "text")


def described(kind: type[Struct]) -> str:
    """The variables of `kind`, one a line: name, form, default."""
    fields = msgspec.structs.fields(kind)
    width = max(len(variable(field.name)) for field in fields)
    return "\n".join(f"  {variable(field.name):{width}}  {_form(field)} ({_default(field)})" for field in fields)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    return f"default: {str(field.default).lower().removesuffix('.0') or 'none'}"


def bind_address(bind: str) -> tuple[str, int]:
    """Splits `host:port`. An IPv6 host is in brackets."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)
