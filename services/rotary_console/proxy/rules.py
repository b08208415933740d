"""Which role may do what on rotary-campaigns. What is not in this table is not passed on.

Paths are those of rotary-campaigns after `/api`, with `{row_id}` for an id. A request is matched with a pattern and
sent to the path that the pattern spells, so nothing in a path can lead elsewhere.
"""

from collections.abc import Mapping

from rotary.management.fields import Role

LARGE_BODIES = {
    ("POST", "/management/imports"): 32 * 2**20,
    ("PUT", "/management/caller-id-groups/{row_id}/members"): 8 * 2**20,
}
"""Bytes that a body may have, where that is more than usual."""

_ROW = "{row_id}"
_CALLER_IDS = "/management/caller-ids"
_GROUPS = "/management/caller-id-groups"
_IMPORTS = "/management/imports"
_TOKENS = "/management/tokens"
_WEBHOOKS = "/management/webhooks"
_CAMPAIGNS = "/telesales/campaigns"

RULES: Mapping[str, Mapping[str, Role]] = {
    _CAMPAIGNS: {"GET": "viewer", "POST": "operator"},
    f"{_CAMPAIGNS}/{_ROW}": {"GET": "viewer", "PUT": "operator"},
    f"{_CAMPAIGNS}/{_ROW}/status": {"PUT": "operator"},
    _CALLER_IDS: {"GET": "viewer", "POST": "admin"},
    f"{_CALLER_IDS}/{_ROW}": {"GET": "viewer", "PUT": "admin", "DELETE": "admin"},
    f"{_CALLER_IDS}/{_ROW}/enable": {"POST": "operator"},
    f"{_CALLER_IDS}/{_ROW}/disable": {"POST": "operator"},
    f"{_CALLER_IDS}/{_ROW}/clear-cooldown": {"POST": "operator"},
    _GROUPS: {"GET": "viewer", "POST": "admin"},
    f"{_GROUPS}/{_ROW}": {"GET": "viewer", "PUT": "admin", "DELETE": "admin"},
    f"{_GROUPS}/{_ROW}/enable": {"POST": "admin"},
    f"{_GROUPS}/{_ROW}/disable": {"POST": "admin"},
    f"{_GROUPS}/{_ROW}/members": {"GET": "viewer", "PUT": "admin"},
    _IMPORTS: {"GET": "admin", "POST": "admin"},
    f"{_IMPORTS}/{_ROW}": {"GET": "admin"},
    f"{_IMPORTS}/{_ROW}/changes": {"GET": "admin"},
    _TOKENS: {"GET": "admin", "POST": "admin"},
    f"{_TOKENS}/{_ROW}": {"GET": "admin", "DELETE": "admin"},
    f"{_TOKENS}/{_ROW}/rotate": {"POST": "admin"},
    "/management/customer": {"GET": "admin", "PUT": "admin"},
    # Deliveries are found through their webhooks, and the audit log shows these to an operator as well.
    _WEBHOOKS: {"GET": "operator", "POST": "admin"},
    f"{_WEBHOOKS}/{_ROW}": {"GET": "operator", "PUT": "admin", "DELETE": "admin"},
    f"{_WEBHOOKS}/{_ROW}/rotate-secret": {"POST": "admin"},
    f"{_WEBHOOKS}/{_ROW}/test": {"POST": "admin"},
    f"{_WEBHOOKS}/{_ROW}/deliveries": {"GET": "operator"},
    "/management/audit-log": {"GET": "operator"},
}
