"""The table of services in the stack: what one line in it gives a service, the other services, and a command inside."""

from itertools import count

import click
import pytest

from rotary_stack.commands import parse_options
from rotary_stack.services import SERVICES, ServiceDefinition, ServicePlan, plan_services

BOARD = ServiceDefinition("board", "rotary_board", {"ROTARY_BOARD_BIND": "{address}"}, "ROTARY_BOARD_URL")


def planned(*definitions: ServiceDefinition, consumers: int = 1) -> ServicePlan:
    ports = count(4001)
    return plan_services({"ROTARY_REDIS_URL": "redis://here"}, consumers, lambda: next(ports), definitions)


def test_a_service_listens_where_its_variable_says() -> None:
    plan = planned(BOARD)
    (engine,) = plan.processes
    assert engine.environ["ROTARY_BOARD_BIND"] == "127.0.0.1:4001"
    assert plan.variables == {"ROTARY_BOARD_URL": "http://127.0.0.1:4001", "ROTARY_BOARD_OPS_URL": engine.url}
    assert engine.environ["ROTARY_OPS_BIND"] == engine.url.removeprefix("http://") == "127.0.0.1:4002"


def test_every_service_gets_the_shared_settings_and_the_urls_of_all_services() -> None:
    plan = planned(*SERVICES, BOARD)
    urls = {name: plan.variables[name] for name in ("ROTARY_API_URL", "ROTARY_BOARD_URL")}
    assert all(
        process.environ.items() >= {"ROTARY_REDIS_URL": "redis://here", **urls}.items() for process in plan.processes
    )


def test_only_a_replicated_service_runs_more_than_once() -> None:
    plan = planned(*SERVICES, consumers=2)
    names = ["consumer-1", "consumer-2", "query", "engine", "campaigns", "console"]
    assert [process.name for process in plan.processes] == names
    assert plan.variables["ROTARY_CONSUMER_OPS_URL"].split() == [process.url for process in plan.processes[:2]]


def test_the_consoles_pages_may_read_the_query_service() -> None:
    plan = planned(*SERVICES)
    query = next(process for process in plan.processes if process.name == "query")
    assert query.environ["ROTARY_CORS_ORIGINS"] == plan.variables["ROTARY_CONSOLE_URL"]


def test_no_two_ports_are_the_same() -> None:
    plan = planned(*SERVICES, BOARD, consumers=3)
    urls = " ".join(plan.variables.values()).split()
    assert len(urls) == len(set(urls)) == 13


def test_the_variables_of_a_service_are_those_of_its_plan() -> None:
    for definition in (*SERVICES, BOARD):
        assert sorted(definition.variables()) == sorted(planned(definition).variables)


@pytest.mark.parametrize(
    ("only", "no_migrate", "reason"),
    [(("redis",), False, "--only"), (("postgres", "redis", "rabbitmq"), True, "--no-migrate")],
)
def test_services_cannot_run_without_what_they_need(only: tuple[str, ...], no_migrate: bool, reason: str) -> None:
    with pytest.raises(click.UsageError, match=reason):
        parse_options(services=True, consumers=1, only=only, no_migrate=no_migrate, tls=False, management=False)
