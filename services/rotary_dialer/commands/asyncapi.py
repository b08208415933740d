"""The dialers' contract as an AsyncAPI 3 document, from the types that encode and decode the events."""

import click
import msgspec

from rotary import __version__
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EVENT_TYPES,
    EXCHANGE,
    MAX_BATCH_EVENTS,
    CallPlaced,
    CarrierFlag,
    CooldownCleared,
    EventType,
)

Json = dict[str, object]

_TYPES: dict[EventType, type[CallPlaced | CarrierFlag | CooldownCleared]] = {
    "call-placed": CallPlaced,
    "carrier-flag": CarrierFlag,
    "cooldown-cleared": CooldownCleared,
}
_MEANING: dict[EventType, str] = {
    "call-placed": "One outbound call was placed. Accepted from 48 h back to 5 min ahead of its arrival.",
    "carrier-flag": "A carrier, or somebody called, flagged a number. Accepted from 30 days back to 5 min ahead.",
    "cooldown-cleared": "A number has rested enough. Accepted from 30 days back to 5 min ahead of its arrival.",
}
_DESCRIPTION = """\
Events are CloudEvents 1.0 in structured JSON, one in a message or up to 1,000 in 1 MiB; all events of a message share
its routing key. (source, id) is an event's identity: the same pair is the same fact however often it arrives, so
publish again with the same id until the broker confirms. Publish persistent and mandatory, with publisher confirms on,
and treat a returned message as an error. The broker lets a user write its own customer's routing keys and nothing else.
"""


@click.command("asyncapi")
def print_asyncapi() -> None:
    """Print the dialers' contract as an AsyncAPI 3 document (JSON)."""
    click.echo(document().decode(), nl=False)


def document() -> bytes:
    """The document as indented JSON with a final newline."""
    _, schemas = msgspec.json.schema_components(_TYPES.values(), ref_template="#/components/schemas/{name}")
    content: Json = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rotary: events from dialers",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": EVENT_CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "broker.example.com:5671",
                "protocol": "amqps",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ; `rotary-admin dialer create` makes your user.",
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            }
        },
        "channels": {kind: _channel(kind) for kind in EVENT_TYPES},
        "operations": {f"publish-{kind}": _operation(kind) for kind in EVENT_TYPES},
        "components": {
            "schemas": schemas,
            "messages": {name: message for kind in EVENT_TYPES for name, message in _messages(kind).items()},
            "securitySchemes": {"user": {"type": "userPassword", "description": "SASL PLAIN, inside TLS."}},
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _channel(kind: EventType) -> Json:
    return {
        "address": f"{kind}.{{customer_id}}",
        "title": kind,
        "description": _MEANING[kind],
        "parameters": {"customer_id": {"description": "Your number with Rotary.", "examples": ["7"]}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(kind)},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operation(kind: EventType) -> Json:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{kind}"},
        "summary": _MEANING[kind],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}},
    }


def _messages(kind: EventType) -> dict[str, Json]:
    """One event, and many of the same type."""
    event = {"$ref": f"#/components/schemas/{_TYPES[kind].__name__}"}
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_BATCH_EVENTS}
    return {
        kind: {"contentType": EVENT_CONTENT_TYPE, "title": kind, "payload": event},
        f"{kind}-batch": {"contentType": BATCH_CONTENT_TYPE, "title": f"{kind}, many", "payload": batch},
    }
