"""The query service's endpoints."""

from typing import Literal

from rotary.http import endpoints
from rotary.http.docs import FILES_PATTERN
from rotary.http.endpoints import PREFIX, Endpoint, Routes

Kind = Literal["groups", "group", "monitor", "history", "tickets", "openapi", "docs", "docs_file", "nothing"]
"""What a path names."""
TICKETS = "/api/stream-tickets"
Route = endpoints.Route[Kind]

ENDPOINTS: tuple[Endpoint[Kind], ...] = (
    Endpoint("groups", PREFIX),
    Endpoint("group", PREFIX + "/{id}"),
    Endpoint("monitor", PREFIX + "/{id}/monitor"),
    Endpoint("tickets", TICKETS, "POST, OPTIONS"),
    Endpoint("history", PREFIX + "/{id}/history"),
    Endpoint("openapi", "/openapi.json"),
    Endpoint("docs", "/docs"),
    Endpoint("docs_file", FILES_PATTERN),
)


def routes() -> Routes[Kind]:
    """What resolves targets."""
    return Routes(ENDPOINTS, Route("nothing"))
