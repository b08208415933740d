"""The model of the atomic function with one group, to pick from in a few words."""

from collections.abc import Sequence
from typing import Any

from histories import NOW
from pick_groups import GROUP, group
from rotary.definitions import MemberDefinition, RotationStrategy
from rotary.domain.facts import CallerFacts
from rotary.domain.rotation.model import Choice, Model
from rotary.domain.rotation.outcomes import NothingEligible, PickRequest
from rotary.domain.rotation.plan import make_plan

ANY = PickRequest()


def define(
    model: Model, members: Sequence[MemberDefinition], strategy: RotationStrategy = "round_robin", **fields: Any
) -> None:
    """The group has these members from now on."""
    facts = fields.pop("facts", {})
    model.plan(make_plan(group(members, strategy, **fields), facts, NOW))


def model_of(
    members: Sequence[MemberDefinition],
    strategy: RotationStrategy = "round_robin",
    facts: dict[int, CallerFacts] | None = None,
    **fields: Any,
) -> Model:
    """A model that knows one group, and of which nothing was picked."""
    model = Model()
    define(model, members, strategy, facts=facts or {}, **fields)
    return model


def pick(model: Model, asked: PickRequest = ANY, now_ms: int = NOW) -> int | None:
    """One pick by the model's own word, named pick-0, pick-1 and so on; a random one takes the first."""
    choice = model.choose(GROUP, asked, now_ms)
    if isinstance(choice, NothingEligible):
        return None
    model.take(GROUP, asked, choice, choice.callers[0], f"pick-{model.number}", now_ms)
    return choice.callers[0]


def picks(model: Model, number: int, asked: PickRequest = ANY, now_ms: int = NOW) -> list[int | None]:
    """So many picks, one after the other."""
    return [pick(model, asked, now_ms) for _ in range(number)]


def chosen(model: Model, asked: PickRequest = ANY, now_ms: int = NOW) -> Choice:
    """Who must be picked, where somebody can be."""
    choice = model.choose(GROUP, asked, now_ms)
    assert isinstance(choice, Choice), choice
    return choice


def refusal(model: Model, asked: PickRequest = ANY, now_ms: int = NOW) -> NothingEligible:
    """Why nobody can be picked."""
    refused = model.choose(GROUP, asked, now_ms)
    assert isinstance(refused, NothingEligible), refused
    return refused
