"""Every path of the service, in one table."""

from rotary.http.docs import FILES_PATTERN
from rotary.http.endpoints import Endpoint, Route, Routes
from rotary_campaigns.http.operations import Resource
from rotary_campaigns.routes import audit, caller_ids, campaigns, customer, groups, imports, tokens, webhooks

RESOURCES: dict[str, Resource] = {
    resource.kind: resource
    for module in (campaigns, caller_ids, groups, imports, tokens, customer, webhooks, audit)
    for resource in module.RESOURCES
}
ENDPOINTS: tuple[Endpoint[str], ...] = (
    *(Endpoint(resource.kind, resource.pattern, resource.allowed) for resource in RESOURCES.values()),
    Endpoint("openapi", "/openapi.json"),
    Endpoint("docs", "/docs"),
    Endpoint("docs_file", FILES_PATTERN),
)


def routes() -> Routes[str]:
    """What resolves targets."""
    return Routes(ENDPOINTS, Route("nothing"))
