"""Rotary's own services, and the migrations that run before them. A new service is one line in SERVICES."""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from signal import SIGTERM, Signals

from msgspec import Struct

from rotary.redis import picks
from rotary.redis.connection import connect, load_functions
from rotary_stack.errors import NotReadyError
from rotary_stack.spawn import LaunchConfig, run_to_exit


class ServiceDefinition(Struct, frozen=True):
    """One service: its name, its Python module, its settings and the variables with its URLs.

    A service with a `url_variable` gets an address on loopback. `{address}` in its `settings` stands for it, the name
    of a service in braces for that one's URL, and the variable is set to its URL for the other services and for a
    command inside the stack. `ops_url_variable` has the URL of `/readyz` and `/metrics`; its default is
    ROTARY_<NAME>_OPS_URL. A `replicated` service runs `--consumers` times, as NAME-1, NAME-2 and so on, and its ops
    URLs are separated by spaces.
    """

    name: str
    module: str
    settings: Mapping[str, str] = {}
    url_variable: str | None = None
    ops_url_variable: str = ""
    replicated: bool = False

    def variables(self) -> list[str]:
        """The names of the variables that a command inside the stack gets."""
        return [name for name in (self.url_variable, self.ops_variable) if name]

    @property
    def ops_variable(self) -> str:
        return self.ops_url_variable or f"ROTARY_{self.name.upper()}_OPS_URL"

    def process_names(self, replicas: int) -> list[str]:
        return [f"{self.name}-{number}" for number in range(1, replicas + 1)] if self.replicated else [self.name]


SERVICES = (
    ServiceDefinition("consumer", "rotary_consumer", replicated=True),
    ServiceDefinition(
        "query",
        "rotary_query",
        {"ROTARY_QUERY_BIND": "{address}", "ROTARY_CORS_ORIGINS": "{console}"},
        "ROTARY_API_URL",
        "ROTARY_OPS_URL",
    ),
    ServiceDefinition("engine", "rotary_engine", {"ROTARY_ENGINE_BIND": "{address}"}, "ROTARY_ENGINE_URL"),
    ServiceDefinition("campaigns", "rotary_campaigns", {"ROTARY_CAMPAIGNS_BIND": "{address}"}, "ROTARY_CAMPAIGNS_URL"),
    ServiceDefinition(
        "console",
        "rotary_console",
        {"ROTARY_CONSOLE_BIND": "{address}", "ROTARY_CAMPAIGNS_DOCS_URL": "{campaigns}/docs"},
        "ROTARY_CONSOLE_URL",
    ),
)


class Service:
    """One process of a service. `port` is the port of `/readyz`, `/livez` and `/metrics`."""

    stop_signal: Signals = SIGTERM
    data = None

    def __init__(self, name: str, module: str, environ: Mapping[str, str], ops_port: int) -> None:
        self.name = name
        self.port = ops_port
        self.url = f"http://127.0.0.1:{ops_port}"
        self.environ = {**environ, "ROTARY_OPS_BIND": f"127.0.0.1:{ops_port}"}
        self._module = module

    async def prepare(self) -> None:
        """A service stores nothing."""

    def launch_config(self) -> LaunchConfig:
        return LaunchConfig(argv=python_module(self._module), environ=os.environ | self.environ)

    async def check_ready(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise NotReadyError(f"/readyz: {body.decode(errors='replace').strip()}")


class ServicePlan(Struct, frozen=True):
    """The processes to start, and the variables by which a command inside the stack reaches them."""

    processes: list[Service]
    variables: dict[str, str]


def plan_services(
    environ: Mapping[str, str],
    replicas: int,
    reserve_port: Callable[[], int],
    definitions: Iterable[ServiceDefinition] = SERVICES,
) -> ServicePlan:
    """Gives each service its ports. Every process gets `environ`, the URLs of all services, and its own settings."""
    definitions = tuple(definitions)
    addresses = {one.name: f"127.0.0.1:{reserve_port()}" for one in definitions if one.url_variable}
    urls = {one.url_variable: f"http://{addresses[one.name]}" for one in definitions if one.url_variable}
    named = {one.name: urls[one.url_variable] for one in definitions if one.url_variable}
    plan = ServicePlan([], dict(urls))
    for one in definitions:
        places = defaultdict(str, named, address=addresses.get(one.name, ""))  # "" for a service that does not run
        settings = {name: value.format_map(places) for name, value in one.settings.items()}
        processes = [
            Service(name, one.module, {**environ, **urls, **settings}, reserve_port())
            for name in one.process_names(replicas)
        ]
        plan.processes.extend(processes)
        plan.variables[one.ops_variable] = " ".join(process.url for process in processes)
    return plan


async def open_picks(redis_url: str) -> None:
    """States that no reservation can be missing in a Redis that this stack has just created.

    Without it the engine waits a minute, as it must in a Redis that lost its data.
    """
    async with connect(redis_url) as client:
        await load_functions(client)
        await picks.open_picks(client)


async def migrate(environ: Mapping[str, str], log: Path) -> None:
    """Migrates the database `rotary` to the newest version."""
    config = LaunchConfig(argv=python_module("rotary_admin", "migrate"), environ=os.environ | dict(environ))
    await run_to_exit("rotary-admin migrate", config, log)


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """`-P` keeps a file in the current directory from being imported instead of one of our modules."""
    return (sys.executable, "-P", "-m", module, *arguments)
