"""What the management pages compute: pasted lists, differences, and what a policy means, as the service has it."""

import msgspec
import pytest

from console_modules import evaluated
from histories import NOW
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import Flag
from rotary.domain.health import health_score
from rotary.events import FlagKind
from rotary.policy import DEFAULT_POLICY, Policy, WarmUpStep

POLICY = "{ effective, healthAfter, rests, split, typedPolicy, writtenPolicy } from manage/administer/policy.js"
KINDS: tuple[FlagKind, ...] = ("user_report", "spam_label", "blocked")
WARM = Policy(warm_up=(WarmUpStep(7, 50), WarmUpStep(14, 100)))
STRICT = Policy(cooldown_spam_label_seconds=7_200, cooldown_cap_seconds=20_000, severity_blocked=0.5)


def module(path: str, names: str) -> str:
    """An import of `evaluated`."""
    return f"{{ {names} }} from manage/{path}"


def computed(expression: str, given: object = None) -> object:
    """With the functions of policies."""
    return evaluated(expression, given, POLICY)


def as_json(policy: Policy) -> object:
    """As the API has it."""
    return msgspec.json.decode(msgspec.json.encode(policy))


def test_every_field_of_a_policy_has_a_place_and_its_default() -> None:
    defaults = {name: value for name, value in msgspec.structs.asdict(DEFAULT_POLICY).items() if name != "warm_up"}
    assert computed("effective(null)") == defaults


@pytest.mark.parametrize("policy", [Policy(), STRICT, WARM])
def test_a_policy_that_is_read_and_written_is_the_same(policy: Policy) -> None:
    stored = as_json(policy) or None
    assert computed("writtenPolicy(typedPolicy(given))", stored) == stored


def test_an_empty_field_takes_the_default() -> None:
    typed = "({ ...typedPolicy(given), sticky_days: '', cooldown_blocked_seconds: { amount: '', unit: 'day' } })"
    assert computed(f"writtenPolicy({typed})", {"sticky_days": 30, "cooldown_blocked_seconds": 60}) is None


def test_a_duration_is_typed_in_its_largest_unit() -> None:
    texts = computed("given.map((seconds) => Object.values(split(seconds)).join(' '))", [86_400, 5_400, 3_600, 61])
    assert texts == ["1 day", "90 minute", "1 hour", "61 second"]


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, STRICT])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_policy_is_said_to_mean_is_what_it_means(policy: Policy, kind: FlagKind) -> None:
    flags = [Flag(NOW + number, number, kind) for number in range(4)]
    rests = []
    for count, last in enumerate(flags, start=1):
        until = cooldown_until(flags[:count], None, policy, last.at_ms)
        assert until is not None
        rests.append((until - last.at_ms) // 1000)
    stored = as_json(policy)
    assert computed("rests(effective(given[0]), given[1], 4)", [stored, kind]) == rests
    scores = [
        health_score(0, [Flag(NOW, number, kind) for number in range(count)], policy, NOW) for count in range(1, 5)
    ]
    told = computed("[1, 2, 3, 4].map((count) => healthAfter(effective(given[0]), given[1], count))", [stored, kind])
    assert told == scores


def test_a_pasted_list_is_numbers_with_weights_in_any_form_that_people_paste() -> None:
    text = "0901 234 567\n+84 91.234.5678; 3\n\n# Sales\n(028) 7300-1234\t12\n0987654321, heavy"
    assert evaluated("parse(given)", text, module("members_paste.js", "parse")) == [
        {"text": "0901234567"},
        {"text": "+84912345678", "weight": 3},
        {"text": "02873001234", "weight": 12},
        {"text": "0987654321"},
    ]


def test_two_lists_of_members_differ_by_who_came_who_left_and_who_weighs_something_else() -> None:
    def member(row_id: int, weight: int) -> dict[str, object]:
        return {"caller_id_id": row_id, "number": str(row_id), "weight": weight}

    before, after = [member(1, 1), member(2, 1), member(3, 5)], [member(2, 1), member(3, 7), member(4, 2)]
    found = evaluated("changesOf(...given)", [before, after], module("members_changes.js", "changesOf"))
    assert found == {
        "added": [member(4, 2)],
        "removed": [member(1, 1)],
        "reweighted": [member(3, 7) | {"was": 5}],
    }


def test_versions_of_a_row_differ_by_field_and_rules_of_a_policy_each_by_itself() -> None:
    before = {"name": "A", "policy": {"sticky_days": 30}, "status": "active"}
    after = {"name": "A", "policy": {"sticky_days": 60, "volume_calls": 5}, "status": "disabled"}
    script = "differences(...given).map(({ key, before, after }) => [key, before, after])"
    assert evaluated(script, [before, after], module("kit/difference.js", "differences")) == [
        ["policy.sticky_days", 30, 60],
        ["status", "active", "disabled"],
        ["policy.volume_calls", None, 5],
    ]
