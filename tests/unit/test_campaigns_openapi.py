"""The document of the campaigns service says what its table of operations does."""

import json
import re
from typing import Any

import msgspec
import pytest

from openapi_documents import assert_every_component_is_used_and_there
from rotary_campaigns.http.errors import answer_to
from rotary_campaigns.http.openapi import openapi
from rotary_campaigns.http.operations import Operation, Resource, version_of
from rotary_campaigns.http.resources import RESOURCES, routes

DOCUMENT: Any = json.loads(msgspec.json.encode(openapi()))
OPERATIONS = [(resource, operation) for resource in RESOURCES.values() for operation in resource.operations]


def documented(resource: Resource, operation: Operation) -> Any:
    return DOCUMENT["paths"][resource.pattern][operation.method.lower()]


def test_every_reference_resolves_and_no_component_is_unused() -> None:
    assert_every_component_is_used_and_there(DOCUMENT)


def test_no_pattern_has_pythons_anchors() -> None:
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(DOCUMENT))
    assert patterns
    assert not [pattern for pattern in patterns if r"\\A" in pattern or r"\\Z" in pattern]


@pytest.mark.parametrize(("resource", "operation"), OPERATIONS, ids=[one.name for _, one in OPERATIONS])
def test_an_operation_is_documented_with_its_scope_and_all_that_it_answers(
    resource: Resource, operation: Operation
) -> None:
    told = documented(resource, operation)
    assert resource.scope in told["description"]
    statuses = told["responses"].keys()
    assert {str(operation.status), "401", "403", "422", "503"} <= statuses
    assert ("404" in statuses) == ("{" in resource.pattern)
    assert ("412" in statuses) == (operation.precondition != "none")
    assert ("428" in statuses) == (operation.precondition == "required")
    assert ("requestBody" in told) == (operation.body is not None)


def test_every_update_has_a_condition() -> None:
    without = [one.name for _, one in OPERATIONS if one.method == "PUT" and one.precondition == "none"]
    assert not without
    optional = [one.name for _, one in OPERATIONS if one.method == "PUT" and one.precondition == "optional"]
    assert optional == ["updateCampaign", "setCampaignStatus"]  # the integrators' contract has no If-Match


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=RESOURCES)
def test_every_pattern_leads_to_its_resource(resource: Resource) -> None:
    assert routes().resolve(re.sub(r"\{\w+\}", "18", resource.pattern)).kind == resource.kind


@pytest.mark.parametrize(
    ("tag", "version"), [('"3-1a2b"', 3), ('"3"', 3), ('"x"', -1), ('""', -1), ('"-3"', -1), (f'"{"9" * 30}-a"', -1)]
)
def test_a_version_is_read_from_an_etag(tag: str, version: int) -> None:
    assert version_of(tag) == version


def test_an_error_that_nobody_expects_is_500() -> None:
    assert answer_to(ZeroDivisionError(), "").status == 500
