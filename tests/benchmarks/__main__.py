"""`python -m benchmarks`, inside `rotary-stack exec`: measures, prints one table, exits with 1 if a goal is missed."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import uvloop
from rich.console import Console

from benchmarks import (
    campaigns,
    console,
    disk,
    folding,
    freshness,
    idle,
    memory,
    pick_costs,
    picks,
    publishing,
    reads,
    rebuild,
    restart,
    streams,
)
from benchmarks.cores import cores, move_servers
from benchmarks.run import FULL, QUICK, Run, Servers
from benchmarks.table import passed, show, write
from benchmarks.wrk import ensure_wrk

RESULTS = Path(__file__).with_name("results.json")
THEMES = (
    reads,
    picks,
    pick_costs,
    campaigns,
    freshness,
    streams,
    folding,
    publishing,
    disk,
    memory,
    idle,
    rebuild,
    restart,
    console,
)
WIDTH = 170
MOST_SECONDS = 1_500


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        default="",
        metavar="PATTERN",
        help="cases whose name begins so, or matches: reads, reads.hot, '*.day'",
    )
    parser.add_argument("--quick", action="store_true", help="a few small rounds: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: results.json here, of whole runs alone")
    return parser.parse_args()


async def measured(run: Run) -> None:
    """Every theme in turn; what one needs and cannot have fails that theme alone."""
    await ensure_wrk()
    move_servers(os.environ, run.cores.rest)
    try:
        async with asyncio.timeout(MOST_SECONDS):
            for theme in THEMES:
                await _theme(run, theme)
    except TimeoutError as error:
        run.failed(f"everything within {MOST_SECONDS} s", error)


async def _theme(run: Run, theme: ModuleType) -> None:
    try:
        await theme.measure(run)
    except Exception as error:  # noqa: BLE001  # told, and a failure of the run
        run.failed(theme.__name__.rpartition(".")[2], error)


def main() -> None:
    """The program."""
    given = arguments()
    began, here = time.monotonic(), cores()
    progress = Console(stderr=True, soft_wrap=True)
    servers = Servers(*(os.environ[f"ROTARY_{name}_URL"] for name in ("POSTGRES", "REDIS", "RABBITMQ")))
    with TemporaryDirectory(prefix="rotary-bench-") as folder:
        run = Run(servers, here, QUICK if given.quick else FULL, given.only, progress, Path(folder))
        uvloop.run(measured(run))
    seconds = time.monotonic() - began
    show(run.rows, Console(width=WIDTH))
    whole = not given.only and not given.quick
    if path := given.json or (RESULTS if whole else None):
        write(run.rows, path, cores=len(here.all), seconds=seconds, quick=given.quick)
    progress.print(f"· {len(run.rows)} rows in {seconds:.0f} s", style="dim", highlight=False)
    sys.exit(0 if run.rows and passed(run.rows) else 1)


if __name__ == "__main__":
    main()
