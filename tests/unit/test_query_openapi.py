"""The OpenAPI document says what is sent: its examples and every real body fit its schemas."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import fields

from histories import NOW, flags
from rotary.definitions import RotationStrategy
from rotary.domain.health import health_score
from rotary.domain.monitor import MemberStatus, Monitor
from rotary.events import FlagKind
from rotary.http.bodies import Envelope, ErrorBody
from rotary.policy import DEFAULT_POLICY
from rotary_query.http.history import HistoryBody
from rotary_query.http.openapi import openapi
from rotary_query.http.schemas import GroupDetail, GroupItem, StreamDelta, StreamTicket
from stream_client import DeltaClient

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads(msgspec.json.encode(openapi()))
BODIES = {
    "/api/caller-id-groups": Envelope[list[GroupItem]],
    "/api/caller-id-groups/{id}": Envelope[GroupDetail],
    "/api/caller-id-groups/{id}/monitor": Envelope[Monitor],
    "/api/caller-id-groups/{id}/history": Envelope[HistoryBody],
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
        "HistoryBody": "group_id timezone from to days members",
        "HistoryDayItem": "date calls flags resting_seconds health final",
        "HistoryMember": "caller_id_id number calls flags resting_seconds health",
        "FlagCountsItem": "spam_label blocked user_report rejected",
        "InvalidBody": "message errors",
        "ErrorBody": "message",
        "StreamSnapshot": "seq checksum data",
        "StreamDelta": ("seq from checksum group_name total_members eligible_now in_cooldown disabled members removed"),
        "StreamStale": "since reason lag_seconds",
        "StreamTicket": "ticket expires_at",
    }


def test_the_examples_of_streams_are_events_that_a_client_takes() -> None:
    content = DOCUMENT["paths"]["/api/caller-id-groups/{id}/monitor"]["get"]["responses"]["200"]["content"]
    examples = {name: one["value"] for name, one in content["text/event-stream"]["examples"].items()}
    client = DeltaClient()
    client.take_all(examples["deltas"])
    assert client.events == ["snapshot", "delta"]
    client.take_all(examples["stale"])
    assert client.stale is not None
    data = examples["snapshots"].partition("\ndata: ")[2]
    assert msgspec.json.decode(data, type=Envelope[Monitor]).data.total_members == 1


def test_a_delta_repeats_every_field_of_the_monitor_but_its_id() -> None:
    known = {"seq", "from", "checksum", "removed"}
    assert {one.encode_name for one in fields(StreamDelta)} - known == {*Monitor.__struct_fields__} - {"group_id"}


def test_a_ticket_is_created_and_stands_in_the_url() -> None:
    created = DOCUMENT["paths"]["/api/stream-tickets"]["post"]["responses"]
    example = created["201"]["content"]["application/json"]["example"]
    assert len(msgspec.convert(example, Envelope[StreamTicket]).data.ticket) == 43
    assert resolved(created["405"])["headers"]["Allow"]["description"] == "POST, OPTIONS"
    scheme = DOCUMENT["components"]["securitySchemes"]["ticket"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "query", "ticket")
    monitor = DOCUMENT["paths"]["/api/caller-id-groups/{id}/monitor"]["get"]
    assert monitor["security"] == [{"token": []}, {"ticket": []}]


def test_every_failure_has_an_example_of_its_body() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        example = response["content"]["application/json"]["example"]
        assert msgspec.convert(example, ErrorBody).message
        assert "X-Request-Id" in response["headers"]


def test_what_a_name_does_not_say_is_explained() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    members, groups = schemas["MonitorMember"]["properties"], schemas["GroupDetail"]["properties"]
    for strategy in get_args(RotationStrategy):
        assert f"`{strategy}`: " in groups["rotation_strategy"]["description"]
    for status in get_args(MemberStatus):
        assert f"`{status}`" in members["status"]["description"]
    assert "time zone of the customer" in members["calls_today"]["description"]
    # The numbers are those of the policy, as the formulas use them.
    cooldown = members["cooldown_until"]["description"]
    for told in (
        "1 hour after a `user_report`",
        "6 hours after a `spam_label`",
        "24 hours after a `blocked`",
        "7 days",
    ):
        assert told in cooldown
    fresh: dict[FlagKind, int] = {"spam_label": 50, "user_report": 50, "blocked": 25, "rejected": 84}
    for kind, health in fresh.items():
        assert health_score(0, flags((kind, NOW)), DEFAULT_POLICY, NOW) == health
    assert "every 72 hours" in members["health_score"]["description"]


CURL_LINES = [
    line
    for page in ("README.md", "infra/dialers/README.md")
    for line in re.findall(r"^ *(?:\$ )?(curl [^|\n]*)", (ROOT / page).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("line", CURL_LINES)
def test_a_curl_line_that_is_pasted_sends_the_token(line: str, tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    curl.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin", "TOKEN": "rot_x", "ROTARY_API_URL": "http://host"}
    environ["ROTARY_ENGINE_URL"] = environ["ROTARY_CAMPAIGNS_URL"] = environ["ROTARY_API_URL"]
    told = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=True).stdout
    assert "Authorization: Bearer rot_x\n" in told
    assert re.search(
        r"^https?://\S+/api/(caller-id-groups|telesales/campaigns|management/audit-log)\S*$", told, re.MULTILINE
    )
