"""What holds for every OpenAPI document."""

from typing import Any


def references(part: Any) -> list[str]:
    """Every reference in a part of a document."""
    if isinstance(part, list):
        return [name for one in part for name in references(one)]
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [name for one in part.values() for name in references(one)]
    return []


def assert_every_component_is_used_and_there(document: Any) -> None:
    """Every reference resolves, and no component is unused but the way to authenticate."""
    there = {f"#/components/{kind}/{name}" for kind, parts in document["components"].items() for name in parts}
    assert set(references(document)) == there - {"#/components/securitySchemes/token"}
