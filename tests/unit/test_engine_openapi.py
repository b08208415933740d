"""The engine's OpenAPI document says what is accepted and sent."""

import json
from typing import Any, get_args

import msgspec
import pytest

from openapi_documents import assert_every_component_is_used_and_there
from rotary.definitions import RotationStrategy
from rotary.domain.rotation.outcomes import PickRequest, Reason, Refusal
from rotary.http.bodies import ErrorBody
from rotary_engine.http.openapi import openapi
from rotary_engine.http.requests import PicksBody, decode
from rotary_engine.http.schemas import InvalidBody, NoneEligible, Pick

DOCUMENT: Any = json.loads(msgspec.json.encode(openapi()))
POST = DOCUMENT["paths"]["/api/caller-id-groups/{id}/picks"]["post"]
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_every_reference_resolves_and_no_component_is_unused() -> None:
    assert_every_component_is_used_and_there(DOCUMENT)


def test_the_examples_of_requests_are_accepted() -> None:
    for example in POST["requestBody"]["content"]["application/json"]["examples"].values():
        asked = decode(json.dumps(example["value"]).encode())
        assert isinstance(asked, PicksBody)


def test_the_examples_of_answers_are_what_the_types_encode() -> None:
    content = {
        status: answer["content"]["application/json"]
        for status, answer in POST["responses"].items()
        if "content" in answer
    }
    picked, batch = (content["201"]["examples"][name]["value"]["data"] for name in ("one", "many"))
    for example, kind in (
        (picked, Pick),
        (batch[0], Pick),
        (batch[1], NoneEligible),
        (content["409"]["example"], NoneEligible),
        (content["422"]["example"], InvalidBody),
    ):
        assert json.loads(msgspec.json.encode(msgspec.convert(example, kind))) == example


def test_every_failure_has_an_example_of_its_body() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        assert msgspec.convert(response["content"]["application/json"]["example"], ErrorBody).message
        assert "X-Request-Id" in response["headers"]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_names_its_failures(path: str, method: str) -> None:
    statuses = set(DOCUMENT["paths"][path][method]["responses"])
    assert statuses >= {"401", "403", "404", "405", "422", "429", "500", "503"}


def test_what_a_name_does_not_say_is_explained() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    reasons = schemas["NoneEligible"]["properties"]["reasons"]["description"]
    assert all(f"`{reason}`" in reasons for reason in get_args(Refusal))
    assert set(get_args(Reason)) == set(get_args(RotationStrategy)) - {"sticky_lead"} | {"sticky"}
    for name in ("PickRequest", "Pick", "NoneEligible"):
        assert any("description" in field for field in schemas[name]["properties"].values())
    assert list(schemas["PickRequest"]["properties"]) == list(PickRequest.__struct_fields__)
