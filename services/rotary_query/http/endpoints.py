"""The query service's endpoints."""

from typing import Literal

from rotary.http import endpoints
from rotary.http.endpoints import PREFIX, Endpoint, Routes

Kind = Literal["groups", "group", "monitor", "history", "openapi", "docs", "nothing"]
"""What a path names."""
Route = endpoints.Route[Kind]

ENDPOINTS: tuple[Endpoint[Kind], ...] = (
    Endpoint("groups", PREFIX),
    Endpoint("group", PREFIX + "/{id}"),
    Endpoint("monitor", PREFIX + "/{id}/monitor"),
    Endpoint("history", PREFIX + "/{id}/history"),
    Endpoint("openapi", "/openapi.json"),
    Endpoint("docs", "/docs"),
)


def routes() -> Routes[Kind]:
    """What resolves targets."""
    return Routes(ENDPOINTS, Route("nothing"))
