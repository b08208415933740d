"""The stack: which programs there are, in which order they start and end, and what they tell a command run inside."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from rotary_stack.binaries import locate_or_install
from rotary_stack.control.messages import Status
from rotary_stack.errors import StackError
from rotary_stack.ports import Ports
from rotary_stack.process import Program, Unit
from rotary_stack.servers.postgres import Postgres, server_user
from rotary_stack.servers.rabbitmq import Epmd, RabbitMQ
from rotary_stack.servers.redis import Redis
from rotary_stack.services import Service, migrate
from rotary_stack.spawn import search_path, uninterrupted
from rotary_stack.workspace import admit, state_directory

Say = Callable[[str], None]

_GIVEN = frozenset(
    {
        "ROTARY_POSTGRES_URL",
        "ROTARY_REDIS_URL",
        "ROTARY_RABBITMQ_URL",
        "ROTARY_MANAGEMENT_URL",
        "ROTARY_CA_FILE",
        "ROTARY_API_URL",
        "ROTARY_OPS_URL",
        "ROTARY_CONSUMER_OPS_URL",
        "ROTARY_STACK_RABBITMQCTL",
        "ROTARY_STACK_SOCKET",
    }
)

SERVERS = ("postgres", "redis", "rabbitmq")


class Options(Struct, frozen=True, kw_only=True):
    """What to run. `settings` are further ROTARY_* variables for the services, over those of our own environment.

    With `tls` RabbitMQ speaks TLS alone, its certificate signed by a throw-away authority: ROTARY_CA_FILE. With
    `management` it answers its HTTP API at ROTARY_MANAGEMENT_URL.
    """

    servers: tuple[str, ...] = SERVERS
    services: bool = False
    consumers: int = 1
    migrate: bool = True
    tls: bool = False
    management: bool = False
    settings: Mapping[str, str] = {}


class Stack:
    """Open it with `Stack.open`; everything is ready inside the block and gone after it."""

    def __init__(self, options: Options, directory: Path, say: Say) -> None:
        self.directory = directory
        self.socket = directory / "control"
        self._options = options
        self._say = say
        self._hurry = asyncio.Event()
        self._servers: dict[str, Unit] = {}
        self._services: dict[str, Unit] = {}
        self._variables: dict[str, str] = {}
        self._program_urls: dict[str, str] = {}
        self._migrated = False

    @classmethod
    @asynccontextmanager
    async def open(cls, options: Options | None = None, say: Say = lambda _: None) -> AsyncIterator["Stack"]:
        """Starts everything and ends everything. `say` is given a line for each step.

        Ending cannot be cancelled: being cancelled meanwhile makes it quick (SIGKILL), and is raised afterwards.
        Call it in the main thread: the programs are tied to the life of the thread that starts them.
        """
        with state_directory() as directory:
            stack = cls(options or Options(), directory, say)
            ports = Ports()
            try:
                await stack._compose(ports)
                await stack._start_all()
                yield stack
            finally:
                await uninterrupted(stack._end_all(), stack._hurry)
                ports.release()

    def variables(self) -> dict[str, str]:
        """The ROTARY_* variables that a command inside the stack is given, those of the services only if they run."""
        return dict(self._variables)

    def program_variables(self) -> dict[str, str]:
        """The same as the services are given them: with users who may do what production permits, and no more."""
        return self._variables | self._program_urls

    def environ(self) -> dict[str, str]:
        """The whole environment for a command inside: ours, without what a stack around us gave, with `variables`.

        The folder of our own programs is first on PATH, so that `rotary-stack kill redis` is found without a path.
        """
        ours = {name: value for name, value in os.environ.items() if name not in _GIVEN}
        return ours | {"PATH": search_path()} | self._variables

    def status(self) -> Status:
        units = self._servers | self._services
        programs = {name: unit.status() for name, unit in units.items()}
        return Status(os.getpid(), str(self.directory), self.variables(), programs)

    async def start(self, name: str, *, empty: bool = False) -> None:
        """Starts it, on the same port and the same data, and returns when it answers; PostgreSQL is migrated too.

        `consumer` means every consumer, here as in the other orders. Raises StackError for a name that is none.
        """
        units = self._named(name, empty=empty)
        await self._together(self._start(unit, empty=empty) for unit in units)

    async def stop(self, name: str) -> None:
        """Asks it to end (SIGTERM, PostgreSQL: fast shutdown) and waits until it has."""
        await self._together(unit.stop() for unit in self._named(name))

    async def kill(self, name: str) -> None:
        """SIGKILLs it and waits until it is gone."""
        await self._together(unit.kill() for unit in self._named(name))

    async def restart(self, name: str, *, empty: bool = False) -> None:
        """Stops and starts it; `empty` wipes its data in between."""
        units = self._named(name, empty=empty)
        await self._together(unit.stop() for unit in units)
        await self._together(self._start(unit, empty=empty) for unit in units)

    async def _compose(self, ports: Ports) -> None:
        binaries = await locate_or_install(self._say)
        wanted = self._options.servers
        self._variables = {"ROTARY_STACK_SOCKET": str(self.socket)}
        if "postgres" in wanted:
            if user := server_user():
                admit(self.directory, user)
            self._add_server(Postgres(binaries, self.directory, ports.reserve()))
        if "redis" in wanted:
            redis = Redis(binaries, self.directory, ports.reserve())
            self._add_server(redis)
            self._program_urls["ROTARY_REDIS_URL"] = redis.program_url
        if "rabbitmq" in wanted:
            epmd = Epmd(binaries, self.directory, ports.reserve())
            rabbitmq = RabbitMQ(
                binaries,
                self.directory,
                (ports.reserve(), ports.reserve(), epmd.port),
                tls=self._options.tls,
                management_port=ports.reserve() if self._options.management else None,
            )
            self._servers |= self._units(epmd)
            self._add_server(rabbitmq)
            self._variables |= rabbitmq.variables()
            self._program_urls["ROTARY_RABBITMQ_URL"] = rabbitmq.program_url
        if self._options.services:
            self._compose_services(ports)

    def _add_server(self, server: Program) -> None:
        self._servers |= self._units(server)
        self._variables[f"ROTARY_{server.name.upper()}_URL"] = server.url

    def _compose_services(self, ports: Ports) -> None:
        environ = {**self._options.settings, **self.program_variables()}
        api = f"127.0.0.1:{ports.reserve()}"
        query = Service("query", "rotary_query", {**environ, "ROTARY_QUERY_BIND": api}, ports.reserve())
        consumers = [
            Service(f"consumer-{number}", "rotary_consumer", environ, ports.reserve())
            for number in range(1, self._options.consumers + 1)
        ]
        self._services = self._units(*consumers, query)
        self._variables |= {
            "ROTARY_API_URL": f"http://{api}",
            "ROTARY_OPS_URL": query.url,
            "ROTARY_CONSUMER_OPS_URL": " ".join(consumer.url for consumer in consumers),
        }

    def _units(self, *programs: Program) -> dict[str, Unit]:
        return {
            program.name: Unit(program, self.directory / f"{program.name}.log", self._say, self._hurry)
            for program in programs
        }

    async def _start_all(self) -> None:
        began = time.monotonic()
        await self._together(self._start(unit) for unit in self._servers.values())
        await self._together(self._start(unit) for unit in self._services.values())
        self._say(f"stack ready in {time.monotonic() - began:.1f} s")

    async def _start(self, unit: Unit, *, empty: bool = False) -> None:
        if unit.name == "rabbitmq":
            await self._servers["epmd"].start()
        await unit.start(empty=empty)
        if unit.name == "postgres":
            await self._migrate(empty=empty)

    async def _migrate(self, *, empty: bool) -> None:
        if self._options.migrate and (empty or not self._migrated):
            await migrate(self._variables, self.directory / "migrate.log")
            self._migrated = True

    async def _end_all(self) -> None:
        """Services first and politely, so that they can finish what they hold; then the servers, at once."""
        try:
            await self._together(unit.stop() for unit in self._services.values())
        finally:
            await self._together(unit.drop() for unit in self._servers.values())

    def _named(self, name: str, *, empty: bool = False) -> list[Unit]:
        units = self._servers | self._services
        if name == "consumer":
            found = [unit for unit in units.values() if unit.name.startswith("consumer-")]
        else:
            found = [units[name]] if name in units else []
        if not found:
            raise StackError(f"there is no {name} in this stack: it runs {', '.join(units)}")
        if empty and found[0].program.data is None:
            raise StackError(f"{name} keeps no data of its own: leave out --empty")
        return found

    async def _together(self, orders: Iterable[Coroutine[None, None, None]]) -> None:
        """All at the same time. The first that fails ends the others and is raised alone."""
        try:
            async with asyncio.TaskGroup() as group:
                for order in orders:
                    group.create_task(order)
        except ExceptionGroup as failures:
            expected, defects = failures.split(StackError)
            if expected is None or defects is not None:
                raise
            raise expected.exceptions[0] from None
