"""The engine's endpoints."""

from typing import Literal

from rotary.http import endpoints
from rotary.http.docs import FILES_PATTERN
from rotary.http.endpoints import PREFIX, Endpoint, Routes

Kind = Literal["picks", "pick", "lead", "openapi", "docs", "docs_file", "nothing"]
"""What a path names."""
Route = endpoints.Route[Kind]

ENDPOINTS: tuple[Endpoint[Kind], ...] = (
    Endpoint("picks", PREFIX + "/{id}/picks", "POST, OPTIONS"),
    Endpoint("pick", PREFIX + "/{id}/picks/{pick_id}", "DELETE, OPTIONS"),
    Endpoint("lead", PREFIX + "/{id}/leads/{lead_id}", "DELETE, OPTIONS"),
    Endpoint("openapi", "/openapi.json"),
    Endpoint("docs", "/docs"),
    Endpoint("docs_file", FILES_PATTERN),
)


def routes() -> Routes[Kind]:
    """What resolves targets."""
    return Routes(ENDPOINTS, Route("nothing"))
