"""The model of the atomic function: what a pick answers, said plainly. It looks at every member, every time.

The function in functions/picks must answer the same, in whatever order things happen; tests drive both. Nothing in
production asks the model. Times are UTC milliseconds.
"""

from collections import Counter
from collections.abc import Iterable
from math import floor

from msgspec import Struct

from rotary.domain.facts import QUARTER_MS
from rotary.domain.rotation.outcomes import NothingEligible, PickRequest, Reason, Refusal
from rotary.domain.rotation.plan import PHASES, Plan, PlanMember

_PLACES = 2**52


class Choice(Struct, frozen=True):
    """The callers of which one must be picked: one, or all that `random` may draw; and what chooses."""

    callers: tuple[int, ...]
    reason: Reason


class Reservation(Struct, frozen=True):
    """One call of a caller ID's cap, held until `expires_ms`."""

    caller: int
    expires_ms: int


class Group(Struct):
    """A group's plan, and whose turn it is.

    `turns`: the number of a member's last pick. `rounds`: (round, turn) of its next weighted one, and its weight then;
    `passed`: (round, place in it) of the last. `leads`: the number that a lead keeps, and until when.
    """

    plan: Plan
    turns: dict[int, int] = {}
    rounds: dict[int, tuple[tuple[int, int], int]] = {}
    passed: tuple[int, int] = (0, 0)
    leads: dict[str, tuple[int, int]] = {}


class Model:
    """All groups of one customer, its calls and its reservations."""

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}
        self.calls: dict[int, list[int]] = {}
        self.reservations: dict[str, Reservation] = {}
        self.picked_ms: dict[int, int] = {}
        self.number = 0

    # What happens

    def plan(self, plan: Plan) -> None:
        """A definition or a flag changed, or a day began."""
        known = self.groups.get(plan.group_id)
        if known is None:
            self.groups[plan.group_id] = Group(plan)
        else:
            known.plan = plan

    def call(self, caller: int, at_ms: int, pick_id: str | None = None) -> None:
        """A call was counted; if it names its pick, the reservation is gone in the same step."""
        self.calls.setdefault(caller, []).append(at_ms)
        if pick_id in self.reservations and self.reservations[pick_id].caller == caller:
            del self.reservations[pick_id]

    def release(self, pick_id: str) -> bool:
        """A reservation is given back; whether there was one."""
        return self.reservations.pop(pick_id, None) is not None

    def expire(self, complete_ms: int) -> None:
        """The facts are complete up to then: what expired before has been confirmed, or never will be in time."""
        self.reservations = {
            pick_id: held for pick_id, held in self.reservations.items() if held.expires_ms > complete_ms
        }

    def forget(self, group_id: int, lead_id: str) -> bool:
        """A lead's number is forgotten; whether it had one."""
        return self.groups[group_id].leads.pop(lead_id, None) is not None

    # What is picked

    def choose(self, group_id: int, asked: PickRequest, now_ms: int) -> Choice | NothingEligible:
        """Who must be picked, or why nobody can be."""
        group = self.groups[group_id]
        members = {member.id: member for member in group.plan.members}
        blocked = {
            one.id: why for one in members.values() if (why := self.refusal(group.plan, one, now_ms)) is not None
        }
        available = [one for one in members.values() if one.id not in blocked and one.id not in asked.exclude]
        if not available:
            return self._nothing(group.plan, asked, blocked)
        keeps = self._kept(group, asked, now_ms)
        if keeps in {one.id for one in available}:
            return Choice((keeps,), "sticky")
        strategy = group.plan.strategy
        if strategy == "random":
            return Choice(tuple(one.id for one in _preferred(available, asked)), "random")
        best = self._first(group, _preferred(available, asked))
        return Choice((best.id,), "least_used" if strategy == "sticky_lead" else strategy)

    def take(self, group_id: int, asked: PickRequest, choice: Choice, caller: int, pick_id: str, now_ms: int) -> int:
        """Picks one of the choice; returns when its reservation expires."""
        group = self.groups[group_id]
        plan = group.plan
        member = next(one for one in plan.members if one.id == caller)
        self.number += 1
        if plan.strategy == "weighted":
            self._take_turn(group, member, is_next=self._is_next(group, asked, choice, now_ms))
        elif plan.strategy != "random":
            group.turns[caller] = self.number
        expires_ms = -(-(now_ms + plan.pick_ttl_ms) // 1000) * 1000
        self.reservations[pick_id] = Reservation(caller, expires_ms)
        if member.min_gap_ms:
            self.picked_ms[caller] = now_ms  # a gap that is asked for later begins with the next pick
        if plan.is_sticky and asked.lead_id is not None:
            group.leads[asked.lead_id] = (caller, now_ms + plan.sticky_ms)
        return expires_ms

    def used(self, plan: Plan, caller: int) -> int:
        """Calls of the customer's day, and live reservations."""
        return self._calls(caller, plan.day_begin, plan.day_end) + self._live(caller)

    def refusal(self, plan: Plan, member: PlanMember, now_ms: int) -> tuple[Refusal, int] | None:
        """The first reason why a member can't be picked, and when it may hold no longer; None when it can be."""
        spent = self._spent(plan, member, now_ms)
        if member.until_ms > now_ms:
            return "cooldown", max(member.until_ms, spent[1]) if spent else member.until_ms
        return spent

    def _spent(self, plan: Plan, member: PlanMember, now_ms: int) -> tuple[Refusal, int] | None:
        if self.used(plan, member.id) >= member.cap:
            is_final = self._calls(member.id, plan.day_begin, plan.day_end) >= member.cap
            return "quota_exceeded", plan.day_end * QUARTER_MS if is_final else self._first_expiry(member.id)
        if member.hourly_cap is not None and (wake := self._hour_ends(member.id, member.hourly_cap, now_ms)):
            return "hourly_cap", wake
        last = self.picked_ms.get(member.id)
        if member.min_gap_ms and last is not None and last + member.min_gap_ms > now_ms:
            return "min_gap", last + member.min_gap_ms
        return None

    def _hour_ends(self, caller: int, cap: int, now_ms: int) -> int | None:
        """When an hour's calls leave room again. An hour touches five quarters; calls may be dated ahead a little."""
        quarter, live = now_ms // QUARTER_MS, self._live(caller)
        for passed in range(6):
            if self._calls(caller, quarter - 4 + passed, quarter + 2) + live < cap:
                return (quarter + passed) * QUARTER_MS if passed else None
        return self._first_expiry(caller) if live else (quarter + 6) * QUARTER_MS

    def _nothing(self, plan: Plan, asked: PickRequest, blocked: dict[int, tuple[Refusal, int]]) -> NothingEligible:
        reasons: Counter[Refusal] = Counter(why for why, _ in blocked.values())
        reasons["disabled"] = plan.disabled
        reasons["excluded"] = len(plan.members) - len(blocked)
        wakes = [wake for caller, (_, wake) in blocked.items() if caller not in asked.exclude]
        return NothingEligible({why: n for why, n in reasons.items() if n}, min(wakes, default=None))

    def _kept(self, group: Group, asked: PickRequest, now_ms: int) -> int | None:
        if not group.plan.is_sticky or asked.lead_id is None:
            return None
        match group.leads.get(asked.lead_id):
            case caller, until_ms if until_ms > now_ms:
                return caller
        return None

    def _first(self, group: Group, members: Iterable[PlanMember]) -> PlanMember:
        """The least goes first. Ids decide last, as text, because Redis compares them so."""
        return min(members, key=lambda one: (self._place(group, one), str(one.id).encode()))

    def _place(self, group: Group, member: PlanMember) -> tuple[float, ...]:
        turn = group.turns.get(member.id, 0)
        match group.plan.strategy:
            case "weighted":
                return _place_of(member, self._next_turn(group, member))
            case "round_robin":
                return (turn,)
            case "cap_based":
                return (self.used(group.plan, member.id) / member.cap, turn)
            case _:
                return (self.used(group.plan, member.id), turn)

    def _next_turn(self, group: Group, member: PlanMember) -> tuple[int, int]:
        """(round, turn) of a member: its own next, or if that has passed the first that is not before the last pick."""
        passed_round, _ = group.passed
        turns = ((passed_round, turn) for turn in range(member.weight))
        first = next((turn for turn in turns if _place_of(member, turn) >= group.passed), (passed_round + 1, 0))
        own, weight = group.rounds.get(member.id, (first, member.weight))
        return max(first, own) if weight == member.weight else first

    def _take_turn(self, group: Group, member: PlanMember, *, is_next: bool) -> None:
        round_, turn = self._next_turn(group, member)
        if is_next:
            group.passed = _place_of(member, (round_, turn))
        following = (round_, turn + 1) if turn + 1 < member.weight else (round_ + 1, 0)
        group.rounds[member.id] = (following, member.weight)

    def _is_next(self, group: Group, asked: PickRequest, choice: Choice, now_ms: int) -> bool:
        """Whether the picked one was first of all, so that the round has come so far."""
        if choice.reason == "sticky":
            return False
        available = [one for one in group.plan.members if self.refusal(group.plan, one, now_ms) is None]
        if any(_is_preferred(one, asked) for one in available if one.id not in asked.exclude):
            return False
        return self._first(group, available).id == choice.callers[0]

    def _calls(self, caller: int, begin: int, end: int) -> int:
        """In the quarter hours begin ≤ q < end."""
        return sum(begin * QUARTER_MS <= at_ms < end * QUARTER_MS for at_ms in self.calls.get(caller, []))

    def _live(self, caller: int) -> int:
        return sum(held.caller == caller for held in self.reservations.values())

    def _first_expiry(self, caller: int) -> int:
        return min(held.expires_ms for held in self.reservations.values() if held.caller == caller)


def _place_of(member: PlanMember, turn: tuple[int, int]) -> tuple[int, int]:
    """(round, place in it) of a turn, which is (round, number in it)."""
    round_, k = turn
    return round_, min(floor((k + member.phase / PHASES) / member.weight * _PLACES), _PLACES - 1)


def _preferred(members: Iterable[PlanMember], asked: PickRequest) -> list[PlanMember]:
    """Those of the asked carrier, if there are any; of these the ones that share most of the asked prefix."""
    some = list(members)
    some = [one for one in some if one.carrier == asked.carrier] or some
    shared = {one.id: _shared(one.number, asked.prefix) for one in some}
    return [one for one in some if shared[one.id] == max(shared.values())]


def _shared(number: str, prefix: str | None) -> int:
    """How many characters both begin with."""
    if prefix is None:
        return 0
    length = 0
    while length < min(len(number), len(prefix)) and number[length] == prefix[length]:
        length += 1
    return length


def _is_preferred(member: PlanMember, asked: PickRequest) -> bool:
    return member.carrier == asked.carrier or _shared(member.number, asked.prefix) > 0
