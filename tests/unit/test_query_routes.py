"""What paths mean."""

import pytest

from rotary_query.http.endpoints import Route, routes

GROUPS = "/api/caller-id-groups"
CASES = [
    (GROUPS, Route("groups")),
    (GROUPS + "?page=2", Route("groups")),
    (GROUPS + "/3", Route("group", 3)),
    (GROUPS + "/3?x=/monitor", Route("group", 3)),
    (GROUPS + "/%33", Route("group", 3)),
    (GROUPS + "/9223372036854775807/monitor", Route("monitor", 2**63 - 1)),
    (GROUPS + "/9223372036854775808/monitor", Route("monitor")),
    (GROUPS + "/03", Route("group")),
    (GROUPS + "/3%2Fmonitor", Route("group")),
    (GROUPS + "/monitor", Route("group")),
    ("http://example.org" + GROUPS + "/3/monitor", Route("monitor", 3)),
    ("http://example.org:bad" + GROUPS, Route("nothing")),
    ("/api/stream-tickets", Route("tickets")),
    ("/api/stream-tickets/3", Route("nothing")),
    ("/openapi.json", Route("openapi")),
    ("/docs", Route("docs")),
    ("/docs/docs.1f.js", Route("docs_file", name="docs.1f.js")),
    ("/docs/", Route("nothing")),
    ("/docs/a/b.js", Route("nothing")),
    (GROUPS + "/", Route("nothing")),
    (GROUPS + "//monitor", Route("nothing")),
    (GROUPS + "s", Route("nothing")),
    ("/API/caller-id-groups", Route("nothing")),
    ("*", Route("nothing")),
    ("example.org:443", Route("nothing")),
]


@pytest.mark.parametrize(("target", "route"), CASES)
def test_each_target_has_its_route_and_any_other_none(target: str, route: Route) -> None:
    assert routes().resolve(target) == route


def test_remembered_targets_mean_the_same_and_are_bounded() -> None:
    known = routes()
    for number in range(1, 40_000):
        assert known.find(f"{GROUPS}/{number}") == Route("group", number)
    assert len(known._known) <= 16_384  # noqa: SLF001  # the promise is about memory
