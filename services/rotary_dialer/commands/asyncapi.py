"""`rotary-dialer asyncapi`: the contract for dialers as AsyncAPI 3, generated from the event types."""

from datetime import UTC, datetime

import click
import msgspec

from rotary import __version__
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EVENT_TYPES,
    EVENTS,
    EXCHANGE,
    MAX_AHEAD_MS,
    MAX_BATCH_EVENTS,
    CallPlaced,
    CallPlacedData,
    CarrierFlag,
    CarrierFlagData,
    CooldownCleared,
    CooldownClearedData,
    Event,
    EventType,
)

Json = dict[str, object]

_TIME, _SOURCE = datetime(2026, 6, 6, 12, 0, 2, 500_000, UTC), "/dialers/hcm-1"
_EXAMPLES: dict[EventType, Event] = {
    "call-placed": CallPlaced(
        specversion="1.0",
        id="1780747202.17",
        source=_SOURCE,
        time=_TIME,
        data=CallPlacedData(18, 3, "L-991", "01JD8Q4T1RZ6W8M3V5X7K9N2PB-18"),
    ),
    "carrier-flag": CarrierFlag(
        specversion="1.0",
        id="ticket-4711",
        source=_SOURCE,
        time=_TIME,
        data=CarrierFlagData(18, "blocked", "viettel", "SIP 608", "Rejected by analytics"),
    ),
    "cooldown-cleared": CooldownCleared(
        specversion="1.0", id="ticket-4711-closed", source=_SOURCE, time=_TIME, data=CooldownClearedData(18)
    ),
}
_DESCRIPTION = """\
Events are CloudEvents 1.0 in structured JSON. A message holds one event, or a batch of up to 1,000 events in 1 MiB; all
events of a message share its routing key. (source, id) is the identity of an event, and Rotary counts an identity once.
Publish persistent and mandatory messages with publisher confirms, and publish again with the same id until the broker
confirms. A returned message was not stored, although the broker also confirms it: close the channel, and publish the
message, and every message of that channel that was not confirmed before the return, again on a new channel. RabbitMQ
before 4.0 can otherwise confirm later messages of the same channel without storing them. Use a channel for one routing
key only, for the same reason. The broker lets a user publish only with its own customer's routing keys.
"""


@click.command("asyncapi")
def print_asyncapi() -> None:
    """Print the contract for dialers as AsyncAPI 3 in JSON."""
    click.echo(document().decode(), nl=False)


def document() -> bytes:
    """The document as indented JSON with a final newline."""
    _, schemas = msgspec.json.schema_components(
        [spec.event_class for spec in EVENTS.values()], ref_template="#/components/schemas/{name}"
    )
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
                "description": "RabbitMQ. `rotary-admin dialer create` creates your user.",
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


def _summary(kind: EventType) -> str:
    spec = EVENTS[kind]
    hours = spec.max_age_ms // 3_600_000
    late = f"{hours // 24} days" if hours > 48 else f"{hours} h"
    return f"{spec.summary} Accepted up to {late} late and {MAX_AHEAD_MS // 60_000} min early."


def _channel(kind: EventType) -> Json:
    return {
        "address": f"{kind}.{{customer_id}}",
        "title": kind,
        "description": _summary(kind),
        "parameters": {"customer_id": {"description": "Your customer number in Rotary.", "examples": ["7"]}},
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
        "summary": _summary(kind),
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}},
    }


def _messages(kind: EventType) -> dict[str, Json]:
    """The message with one event, and the message with a batch of events."""
    event = {"$ref": f"#/components/schemas/{EVENTS[kind].event_class.__name__}"}
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_BATCH_EVENTS}
    example = msgspec.to_builtins(_EXAMPLES[kind])
    return {
        kind: {
            "contentType": EVENT_CONTENT_TYPE,
            "title": kind,
            "payload": event,
            "examples": [{"payload": example}],
        },
        f"{kind}-batch": {
            "contentType": BATCH_CONTENT_TYPE,
            "title": f"{kind}, batch",
            "payload": batch,
            "examples": [{"payload": [example]}],
        },
    }
