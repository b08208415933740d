"""From what Redis holds to the answers of the three endpoints."""

from rotary.definitions import GroupDefinition, GroupSummary
from rotary.domain.facts import GroupFacts
from rotary.domain.monitor import monitor
from rotary.http.responses import CachedResponse, success, success_template
from rotary_query.http.schemas import encode_detail, encode_list, encode_monitor

_MONITOR = success_template({"Vary": "Accept"})
"""The same path also answers as a stream."""


def list_answer(groups: tuple[GroupSummary, ...]) -> CachedResponse:
    """The customer's groups."""
    return success(encode_list(groups))


def detail_answer(group: GroupDefinition) -> CachedResponse:
    """One group with its members."""
    return success(encode_detail(group))


def monitor_answer(group: GroupDefinition, facts: GroupFacts, now_ms: int) -> CachedResponse:
    """A group now."""
    return success(encode_monitor(monitor(group, facts, now_ms)), _MONITOR)
