"""wrk: one thread, many connections, and what it measured."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec
from msgspec import Struct

from benchmarks.cores import on

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("wrk.lua")
_INSTALL = (
    "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wrk >/dev/null"
)


class Target(Struct, frozen=True):
    """What is asked for: `paths` in turn, all with the same headers; with POST where there is a `body`."""

    base: str
    paths: Sequence[str]
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Load(Struct, frozen=True):
    """What wrk saw: requests a second, latencies in milliseconds, bytes an answer with its head."""

    rate: float
    p50_ms: float
    p99_ms: float
    bytes_each: float
    requests: int


class _Told(Struct):
    requests: int
    microseconds: int
    bytes: int
    failed: int
    p50: float
    p99: float


async def ensure_wrk() -> None:
    """Installs Debian's wrk where it is missing and that is permitted. Raises SystemExit with what to do otherwise."""
    if shutil.which("wrk"):
        return
    as_root = () if os.geteuid() == 0 else ("sudo", "-n")
    if shutil.which("apt-get") and (not as_root or shutil.which("sudo")):
        process = await asyncio.create_subprocess_exec(*as_root, "/bin/sh", "-c", _INSTALL)
        await process.wait()
    if not shutil.which("wrk"):
        raise SystemExit("the program wrk is missing: run  apt-get install wrk  as root and try again")


async def wrk(
    target: Target,
    seconds: float,
    cores: frozenset[int],
    *,
    connections: int = CONNECTIONS,
    rate: float | None = None,
) -> Load:
    """Loads a server for so long, as fast as it goes, or at about `rate` requests a second.

    At a rate each connection pauses before each request, at random and independently, so that requests come as from
    many clients. Raises RuntimeError if anything but 2xx and 3xx was answered.
    """
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    pause_ms = 0.0 if rate is None else 1e3 * connections / rate
    with NamedTemporaryFile("w", suffix=".paths") as paths, NamedTemporaryFile(suffix=".body") as body:
        paths.write("\n".join(target.paths) + "\n")
        paths.flush()
        body.write(target.body)
        body.flush()
        # wrk counts in whole seconds; milliseconds are not needed, but a quick run is to be quick.
        argv = ("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(_SCRIPT))
        process = await asyncio.create_subprocess_exec(
            *on(cores, *argv, *headers, target.base, "--", paths.name, body.name, str(pause_ms)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    return _read(output, target)


def _read(output: bytes, target: Target) -> Load:
    lines = [line for line in output.splitlines() if line.startswith(b"{")]
    if not lines:
        raise RuntimeError(f"wrk told nothing of {target.base}: {output.decode(errors='replace')}")
    told = msgspec.json.decode(lines[-1], type=_Told)
    if told.failed or not told.requests:
        raise RuntimeError(f"{told.failed} of {told.requests} requests to {target.base}{target.paths[0]} failed")
    return Load(
        told.requests / told.microseconds * 1e6,
        told.p50 / 1e3,
        told.p99 / 1e3,
        told.bytes / told.requests,
        told.requests,
    )
