"""The audit log."""

from rotary.definitions import MANAGE_SCOPE
from rotary.management import audit as model
from rotary.management.pages import PageNumber, PerPage
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Section
from rotary_campaigns.http.rows import searches
from rotary_campaigns.http.schemas import AuditEntry

_SECTION = Section("/api/management/audit-log", "Audit log", MANAGE_SCOPE, "Resource not found")


class AuditQuery(model.AuditFilter, frozen=True, forbid_unknown_fields=True):
    """Which changes, and which part of the list."""

    page: PageNumber = 1
    per_page: PerPage = 50


RESOURCES = (
    _SECTION.resource(
        "audit_log",
        "",
        operations.page(
            name="listChanges",
            summary="Read who changed what",
            description="Newest first. Changes by SQL are here, too: their actor is `sql`.",
            handler=searches(AuditEntry, model.find_changes),
            query=AuditQuery,
            answer=AuditEntry,
        ),
    ),
)
