"""The stack: its processes, the order in which they start and stop, and the variables of a command inside it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from rotary_stack.binaries import Binaries, locate_or_install
from rotary_stack.control.client import SOCKET_VARIABLE
from rotary_stack.control.messages import Status
from rotary_stack.errors import StackError
from rotary_stack.ports import Ports
from rotary_stack.process import ManagedProcess, ProcessSpec
from rotary_stack.servers.epmd import Epmd
from rotary_stack.servers.postgres import Postgres, server_user
from rotary_stack.servers.rabbitmq import RabbitMQ
from rotary_stack.servers.redis import Redis
from rotary_stack.services import SERVICES, migrate, open_picks, plan_services
from rotary_stack.spawn import finish_even_if_cancelled, search_path
from rotary_stack.workspace import allow_traversal, open_workspace

Report = Callable[[str], None]

SERVERS = ("postgres", "redis", "rabbitmq")

_VARIABLES = frozenset(
    {
        "ROTARY_POSTGRES_URL",
        "ROTARY_REDIS_URL",
        "ROTARY_RABBITMQ_URL",
        "ROTARY_MANAGEMENT_URL",
        "ROTARY_CA_FILE",
        "ROTARY_STACK_RABBITMQCTL",
        SOCKET_VARIABLE,
        *(name for service in SERVICES for name in service.variables()),
    }
)
"""Every variable that a stack sets. Those of a stack around us must not reach a command inside ours."""


class Options(Struct, frozen=True, kw_only=True):
    """What to run. `settings` are further ROTARY_* variables for the services; they override our own environment.

    With `tls`, RabbitMQ accepts TLS connections only, and ROTARY_CA_FILE names its throw-away authority. With
    `management`, RabbitMQ serves its HTTP API at ROTARY_MANAGEMENT_URL.
    """

    servers: tuple[str, ...] = SERVERS
    services: bool = False
    consumers: int = 1
    migrate: bool = True
    tls: bool = False
    management: bool = False
    settings: Mapping[str, str] = {}


class Stack:
    """Open it with `Stack.open`. Everything is ready inside the block and gone after it."""

    def __init__(self, options: Options, directory: Path, report: Report) -> None:
        self.directory = directory
        self.socket = directory / "control"
        self._options = options
        self._report = report
        self._force_stop = asyncio.Event()
        self._servers: dict[str, ManagedProcess] = {}
        self._services: dict[str, ManagedProcess] = {}
        self._variables: dict[str, str] = {SOCKET_VARIABLE: str(self.socket)}
        self._service_urls: dict[str, str] = {}
        self._migrated = False

    @classmethod
    @asynccontextmanager
    async def open(cls, options: Options | None = None, report: Report = lambda _: None) -> AsyncIterator["Stack"]:
        """Starts everything, and stops everything after the block. `report` takes a line for each step.

        A cancellation while it stops does not interrupt it: it switches to SIGKILL, and is raised afterwards.
        Call it in the main thread: the kernel kills the processes when the thread that started them ends.
        """
        with open_workspace() as directory:
            stack = cls(options or Options(), directory, report)
            ports = Ports()
            try:
                await stack._compose(ports)
                await stack._start_all()
                yield stack
            finally:
                await finish_even_if_cancelled(stack._stop_all(), stack._force_stop)
                ports.release()

    def variables(self) -> dict[str, str]:
        """The ROTARY_* variables for a command inside the stack. Those of the services are set only if they run."""
        return dict(self._variables)

    def service_variables(self) -> dict[str, str]:
        """The variables that the services get: their users have the rights of production and no more."""
        return self._variables | self._service_urls

    def environ(self) -> dict[str, str]:
        """The environment for a command inside: ours, without the variables of a stack around us, with `variables`.

        PATH begins with the folder of our own programs, so that `rotary-stack kill redis` works without a path.
        """
        ours = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
        return ours | {"PATH": search_path()} | self._variables

    def status(self) -> Status:
        processes = {name: process.status() for name, process in self._processes().items()}
        return Status(os.getpid(), str(self.directory), self.variables(), processes)

    async def start(self, name: str, *, empty: bool = False) -> None:
        """Starts a process on its port with its data, and returns when it answers. Migrates an empty PostgreSQL.

        `consumer` stands for every consumer, in the other methods too. Raises StackError for an unknown name.
        """
        processes = self._named(name, empty=empty)
        await self._together(self._start(process, empty=empty) for process in processes)

    async def stop(self, name: str) -> None:
        """Sends the stop signal (SIGTERM; to PostgreSQL SIGINT, its fast shutdown) and waits for the exit."""
        await self._together(process.stop() for process in self._named(name))

    async def kill(self, name: str) -> None:
        """Sends SIGKILL and waits for the exit."""
        await self._together(process.kill() for process in self._named(name))

    async def restart(self, name: str, *, empty: bool = False) -> None:
        """Stops and starts a process. `empty` deletes its data in between."""
        processes = self._named(name, empty=empty)
        await self._together(process.stop() for process in processes)
        await self._together(self._start(process, empty=empty) for process in processes)

    async def _compose(self, ports: Ports) -> None:
        binaries = await locate_or_install(self._report)
        if "postgres" in self._options.servers:
            if user := server_user():
                allow_traversal(self.directory, user)
            self._add_server(Postgres(binaries, self.directory, ports.reserve()))
        if "redis" in self._options.servers:
            redis = Redis(binaries, self.directory, ports.reserve())
            self._add_server(redis)
            self._service_urls["ROTARY_REDIS_URL"] = redis.service_url
        if "rabbitmq" in self._options.servers:
            self._add_rabbitmq(binaries, ports)
        if self._options.services:
            self._add_services(ports)

    def _add_rabbitmq(self, binaries: Binaries, ports: Ports) -> None:
        epmd = Epmd(binaries, self.directory, ports.reserve())
        rabbitmq = RabbitMQ(
            binaries,
            self.directory,
            (ports.reserve(), ports.reserve(), epmd.port),
            tls=self._options.tls,
            management_port=ports.reserve() if self._options.management else None,
        )
        self._servers |= self._managed(epmd)
        self._add_server(rabbitmq)
        self._variables |= rabbitmq.variables()
        self._service_urls["ROTARY_RABBITMQ_URL"] = rabbitmq.service_url

    def _add_server(self, server: ProcessSpec) -> None:
        self._servers |= self._managed(server)
        self._variables[f"ROTARY_{server.name.upper()}_URL"] = server.url

    def _add_services(self, ports: Ports) -> None:
        environ = {**self._options.settings, **self.service_variables()}
        plan = plan_services(environ, self._options.consumers, ports.reserve)
        self._services = self._managed(*plan.processes)
        self._variables |= plan.variables

    def _managed(self, *specs: ProcessSpec) -> dict[str, ManagedProcess]:
        return {
            spec.name: ManagedProcess(spec, self.directory / f"{spec.name}.log", self._report, self._force_stop)
            for spec in specs
        }

    def _processes(self) -> dict[str, ManagedProcess]:
        return self._servers | self._services

    async def _start_all(self) -> None:
        began = time.monotonic()
        await self._together(self._start(process) for process in self._servers.values())
        if self._services:
            await open_picks(self._variables["ROTARY_REDIS_URL"])
        await self._together(self._start(process) for process in self._services.values())
        self._report(f"stack ready in {time.monotonic() - began:.1f} s")

    async def _start(self, process: ManagedProcess, *, empty: bool = False) -> None:
        if process.name == "rabbitmq":
            await self._servers["epmd"].start()
        await process.start(empty=empty)
        if process.name == "postgres":
            await self._migrate(empty=empty)

    async def _migrate(self, *, empty: bool) -> None:
        if self._options.migrate and (empty or not self._migrated):
            await migrate(self._variables, self.directory / "migrate.log")
            self._migrated = True

    async def _stop_all(self) -> None:
        """Stops the services first, so that they can finish their work, and then discards the servers."""
        try:
            await self._together(process.stop() for process in self._services.values())
        finally:
            await self._together(process.discard() for process in self._servers.values())

    def _named(self, name: str, *, empty: bool = False) -> list[ManagedProcess]:
        processes = self._processes()
        replicas = [process for key, process in processes.items() if key.startswith(f"{name}-")]
        found = [processes[name]] if name in processes else replicas
        if not found:
            raise StackError(f"no process {name!r} in this stack; choose from: {', '.join(processes)}")
        if empty and found[0].spec.data is None:
            raise StackError(f"{name} stores no data: leave out --empty")
        return found

    async def _together(self, actions: Iterable[Coroutine[None, None, None]]) -> None:
        """Runs all of them concurrently. The first failure cancels the others and is raised alone."""
        try:
            async with asyncio.TaskGroup() as group:
                for action in actions:
                    group.create_task(action)
        except ExceptionGroup as failures:
            expected, defects = failures.split(StackError)
            if expected is None or defects is not None:
                raise
            raise expected.exceptions[0] from None
