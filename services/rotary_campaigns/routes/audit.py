"""The audit log."""

from rotary.definitions import MANAGE_SCOPE
from rotary.management import audit as model
from rotary.management.pages import PageNumber, PerPage
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import AuditEntry, shown


class AuditQuery(model.AuditFilter, frozen=True, forbid_unknown_fields=True):
    """Which changes, and which part of the list."""

    page: PageNumber = 1
    per_page: PerPage = 50


async def list_changes(call: Call) -> Reply:
    """A page of the changes."""
    page = await model.find_changes(call.connection, call.customer_id, call.query, call.query)
    return Reply(page.map(lambda row: shown(AuditEntry, row)))


RESOURCES = (
    Resource(
        "audit_log",
        "/api/management/audit-log",
        "Audit log",
        MANAGE_SCOPE,
        "Resource not found",
        (
            Operation(
                method="GET",
                name="listChanges",
                summary="Read who changed what",
                description="Newest first. Changes by SQL are here, too: their actor is `sql`.",
                handler=list_changes,
                query=AuditQuery,
                answer=AuditEntry,
                is_page=True,
            ),
        ),
    ),
)
