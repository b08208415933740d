"""One run: how much of everything, which cases, on which cores, and the rows so far."""

import os
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from benchmarks.cores import Cores, move_servers
from benchmarks.table import Row, number

Case = Callable[[], Awaitable[Sequence[Row]]]


class Scale(Struct, frozen=True, kw_only=True):
    """How much is measured: `seconds` is one round of reads, `drains` are the rounds of whoever empties a queue.

    Many short rounds in turn rather than few long ones: what else the machine does comes and goes within seconds.
    `long_drains` are the rounds of what takes longest: several consumers, and rebuilds.
    """

    rounds: int = 8
    seconds: float = 1
    cold_groups: int = 10_000
    probe_seconds: float = 15.0
    definition_changes: int = 200
    drains: int = 5
    long_drains: int = 2
    single_messages: int = 15_000
    slow_messages: int = 6_000
    batch_messages: int = 2_000
    publish_seconds: float = 1.0
    few_callers: int = 1_000
    many_callers: int = 1_000_000
    counted_callers: int = 1_000
    counted_picks: int = 60_000
    imported_rows: int = 100_000


FULL = Scale()
QUICK = Scale(
    rounds=2,
    drains=1,
    long_drains=1,
    cold_groups=1_000,
    probe_seconds=4.0,
    definition_changes=20,
    single_messages=5_000,
    slow_messages=2_000,
    batch_messages=100,
    publish_seconds=0.5,
    many_callers=50_000,
    counted_callers=300,
    counted_picks=6_000,
    imported_rows=10_000,
)


class Servers(Struct, frozen=True):
    """The URLs of the three servers."""

    postgres: str
    redis: str
    rabbitmq: str

    def settings(self, redis_database: int = 0, rabbitmq: str = "", postgres: str = "") -> dict[str, str]:
        """What a program of ours is told."""
        return {
            "ROTARY_POSTGRES_URL": postgres or self.postgres,
            "ROTARY_REDIS_URL": self.database(redis_database),
            "ROTARY_RABBITMQ_URL": rabbitmq or self.rabbitmq,
        }

    def database(self, number: int) -> str:
        """Another database of the same Redis."""
        return f"{self.redis.rpartition('/')[0]}/{number}"


class Run:
    """What every theme is given."""

    def __init__(
        self, servers: Servers, cores: Cores, scale: Scale, pattern: str, console: Console, folder: Path
    ) -> None:
        self.servers = servers
        self.cores = cores
        self.scale = scale
        self.folder = folder
        """For files that live as long as the run."""
        self.rows: list[Row] = []
        self._pattern = pattern
        self._console = console

    def wants(self, name: str) -> bool:
        """Whether this case was asked for: by the beginning of its name, or a pattern such as `*.day`."""
        return name.startswith(self._pattern) or fnmatch(name, self._pattern)

    def say(self, line: str) -> None:
        """Progress."""
        self._console.print(f"· {line}", style="dim", highlight=False)

    @contextmanager
    def on_all_cores(self) -> Iterator[None]:
        """While the block lasts the three servers run on every core, as they would; else they leave one alone."""
        move_servers(os.environ, self.cores.all)
        try:
            yield
        finally:
            move_servers(os.environ, self.cores.rest)

    async def each(self, cases: Mapping[str, Case]) -> None:
        """Measures the cases that were asked for. One that cannot be measured is a row, too, and the rest goes on."""
        for name, measure in cases.items():
            if self.wants(name):
                await self._one(name, measure)

    async def _one(self, name: str, measure: Case) -> None:
        began = time.monotonic()
        try:
            rows = await measure()
        except Exception as error:  # noqa: BLE001  # told, and a failure of the run
            self.failed(name, error)
            return
        self.rows += rows
        told = ", ".join(f"{number(row.figure)} {row.unit}" for row in rows if row.figure is not None)
        self.say(f"{name}: {told} ({time.monotonic() - began:.0f} s)")

    def failed(self, name: str, error: Exception) -> None:
        """A case, or what several cases need, could not be measured."""
        self._console.print("".join(traceback.format_exception(error)), style="red", highlight=False, markup=False)
        self.rows.append(Row(case=name, figure=None, unit="", detail=f"{type(error).__name__}: {error}"))
