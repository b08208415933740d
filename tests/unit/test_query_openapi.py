"""The OpenAPI document says what is sent: its examples and every real body fit its schemas."""

import json
from typing import Any

import msgspec
import pytest

from rotary.domain.monitor import Monitor
from rotary_query.bodies import Envelope, ErrorBody, GroupDetail, GroupItem
from rotary_query.documentation import pages
from rotary_query.openapi import openapi

DOCUMENT = json.loads(msgspec.json.encode(openapi()))
BODIES = {
    "/api/caller-id-groups": Envelope[list[GroupItem]],
    "/api/caller-id-groups/{id}": Envelope[GroupDetail],
    "/api/caller-id-groups/{id}/monitor": Envelope[Monitor],
}


def resolved(part: Any) -> Any:
    """What a reference refers to."""
    if "$ref" not in part:
        return part
    found = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def references(part: Any) -> list[str]:
    """Every reference in the document."""
    if isinstance(part, list):
        return [name for one in part for name in references(one)]
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [name for one in part.values() for name in references(one)]
    return []


def test_every_reference_resolves() -> None:
    assert references(DOCUMENT)
    for name in references(DOCUMENT):
        assert resolved({"$ref": name})


@pytest.mark.parametrize("path", BODIES)
def test_examples_are_what_the_types_encode(path: str) -> None:
    content = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    decoded = msgspec.json.decode(json.dumps(content["example"]), type=BODIES[path])
    assert json.loads(msgspec.json.encode(decoded)) == content["example"]
    data = resolved(content["schema"]["properties"]["data"])
    item = resolved(data["items"]) if data.get("type") == "array" else data
    example = content["example"]["data"]
    shown = example[0] if isinstance(example, list) else example
    assert list(shown) == list(item["properties"]) == item["required"]
    assert item["additionalProperties"] is False


def test_the_fields_are_the_documented_ones_in_order() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    item = "id name description rotation_strategy sticky_enabled status caller_ids_count created_at"
    assert {name: " ".join(schema["properties"]) for name, schema in schemas.items()} == {
        "GroupItem": item,
        "GroupDetail": item + " caller_ids",
        "CallerIdItem": "id number display_name carrier carrier_label status trunk_name weight",
        "Monitor": "group_id group_name total_members eligible_now in_cooldown disabled members",
        "MonitorMember": ("caller_id_id number carrier status health_score calls_today daily_cap cooldown_until"),
        "ErrorBody": "message",
    }


def test_every_failure_has_an_example_of_its_body() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        example = response["content"]["application/json"]["example"]
        assert msgspec.convert(example, ErrorBody).message
        assert "X-Request-Id" in response["headers"]


def test_docs_need_no_other_host() -> None:
    page = pages()["docs"].body.decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "/* style.css */" not in page
    assert "/* script.js */" not in page
    assert b"script-src 'sha256-" in pages()["docs"].head
