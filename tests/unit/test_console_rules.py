"""Who may do what in the console: the table of roles, held to rotary-campaigns' routes and to the written matrix."""

from typing import get_args

import pytest

from rotary.http import endpoints as paths
from rotary.http.endpoints import Route, Routes
from rotary.management.fields import Role
from rotary_campaigns.http.operations import MAX_BODY_BYTES
from rotary_campaigns.http.resources import RESOURCES
from rotary_console.http.handler import ENDPOINTS
from rotary_console.proxy.rules import LARGE_BODIES, RULES
from rotary_console.routes.customers import CUSTOMER
from rotary_console.sign_in.sessions import allows

ROUTES = {
    (operation.method, _console_pattern): operation
    for resource in RESOURCES.values()
    for operation in resource.operations
    for _console_pattern in [
        "/".join("{row_id}" if part.startswith("{") else part for part in resource.pattern.split("/")).removeprefix(
            "/api"
        )
    ]
}
"""Every operation of rotary-campaigns, by its method and its path as the console's table writes it."""
ROLES: tuple[Role, ...] = get_args(Role)


def test_every_operation_of_campaigns_has_a_role_and_nothing_else_is_passed_on() -> None:
    ruled = {(method, pattern) for pattern, methods in RULES.items() for method in methods}
    assert ruled == set(ROUTES)


def test_a_body_may_be_as_large_as_campaigns_takes_it() -> None:
    large = {key: one.max_body_bytes for key, one in ROUTES.items() if one.max_body_bytes != MAX_BODY_BYTES}
    assert large == LARGE_BODIES


@pytest.mark.parametrize(("held", "needed"), [(held, needed) for held in ROLES for needed in ROLES])
def test_each_role_may_do_what_those_before_it_may(held: Role, needed: Role) -> None:
    assert allows(held, needed) == (ROLES.index(held) >= ROLES.index(needed))


MATRIX = """
viewer    GET    /telesales/campaigns /telesales/campaigns/{row_id}
viewer    GET    /management/caller-ids /management/caller-ids/{row_id}
viewer    GET    /management/caller-id-groups /management/caller-id-groups/{row_id}
viewer    GET    /management/caller-id-groups/{row_id}/members
operator  POST   /telesales/campaigns /management/caller-ids/{row_id}/enable /management/caller-ids/{row_id}/disable
operator  POST   /management/caller-ids/{row_id}/clear-cooldown
operator  PUT    /telesales/campaigns/{row_id} /telesales/campaigns/{row_id}/status
operator  GET    /management/audit-log /management/webhooks/{row_id}/deliveries
operator  GET    /management/webhooks /management/webhooks/{row_id}
"""
"""What a viewer and an operator may do; everything else is an administrator's."""


def test_the_table_is_the_written_matrix() -> None:
    written = {
        (method, pattern): role
        for role, method, *patterns in map(str.split, MATRIX.strip().splitlines())
        for pattern in patterns
    }
    ruled = {(method, pattern): role for pattern, methods in RULES.items() for method, role in methods.items()}
    assert {key: role for key, role in ruled.items() if role != "admin"} == written


def test_every_path_of_a_customer_needs_a_role() -> None:
    for pattern, endpoint in ENDPOINTS.items():
        for operation in endpoint.operations:
            assert (operation.who == "role") == pattern.startswith(CUSTOMER), (operation.method, pattern)


def test_only_these_need_no_session() -> None:
    open_to_anybody = {
        (operation.method, pattern)
        for pattern, endpoint in ENDPOINTS.items()
        for operation in endpoint.operations
        if operation.who == "anybody"
    }
    assert open_to_anybody == {
        ("GET", "/"),
        ("GET", "/assets"),
        ("GET", "/api/sign-in"),
        ("POST", "/api/session"),
        ("DELETE", "/api/session"),
        ("GET", "/oidc/start"),
        ("GET", "/oidc/callback"),
    }


TRICKS = (
    "/api/customers/7/management/../../8/management/caller-ids",
    "/api/customers/7/management/%2e%2e/%2e%2e/8/management/caller-ids",
    "/api/customers/7/management/caller-ids/..%2f..%2ftokens",
    "/api/customers/7/management/caller-ids/18/../../tokens",
    "/api/customers/7/management//caller-ids",
    "/api/customers/7/management/caller-ids/",
    "/api/customers/7/management/caller-ids/18/enable/",
    "/api/customers/7/management\\caller-ids",
    "/api/customers/07/management/caller-ids",
    "/api/customers/7%2f/management/caller-ids",
    "/api/customers/7;8/management/caller-ids",
    "/api/customers/-7/management/caller-ids",
    "/api/customers/7/management/caller-ids;x=/tokens",
    "/api/customers/7/Management/caller-ids",
    "/api/customers/7/telesales/../management/tokens",
    "/api/management/caller-ids",
    "//api/customers/7/management/caller-ids",
)


@pytest.mark.parametrize("target", TRICKS)
def test_a_path_leads_to_what_it_spells_or_nowhere(target: str) -> None:
    listed = [paths.Endpoint(one.pattern, one.pattern, one.allowed) for one in ENDPOINTS.values()]
    found = Routes(listed, Route("nothing")).find(target)
    is_row = "{row_id}" in found.kind and not paths.group_id(found.name)
    assert found.kind == "nothing" or found.group_id == 0 or is_row, found
