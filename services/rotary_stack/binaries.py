"""Where the servers' programs are, and how they get onto a Debian machine that has none."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from rotary_stack.errors import ProgramsMissingError, StackError
from rotary_stack.spawn import uninterrupted

Find = Callable[[str, str], str | None]
"""Given a program's name and a glob of folders to prefer over PATH, its full path or None."""

Say = Callable[[str], None]

# Debian would start each server it installs; policy-rc.d is its own way of saying no.
_INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > $policy
  chmod 755 $policy
fi
apt-get -o DPkg::Lock::Timeout=120 update -qq
apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "$@"
"""


class Binaries(Struct, frozen=True):
    """Full paths of the programs a stack runs."""

    initdb: str
    postgres: str
    redis_server: str
    rabbitmq_server: str
    rabbitmqctl: str
    epmd: str


class _Wanted(Struct, frozen=True):
    program: str
    package: str
    folders: str = ""


# /usr/sbin/rabbitmq-server changes to a user of its own; the script in /usr/lib does not.
_WANTED = (
    _Wanted("initdb", "postgresql", "/usr/lib/postgresql/*/bin"),
    _Wanted("postgres", "postgresql", "/usr/lib/postgresql/*/bin"),
    _Wanted("redis-server", "redis-server"),
    _Wanted("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    _Wanted("rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    _Wanted("epmd", "rabbitmq-server"),
)


def find(program: str, folders: str) -> str | None:
    """The newest match in `folders` (a glob, `*` standing for a version), else what PATH says."""
    pattern = f"{folders}/{program}".lstrip("/")
    matches = [path for path in Path("/").glob(pattern) if os.access(path, os.X_OK)] if folders else []
    return str(max(matches, key=_version)) if matches else shutil.which(program)


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


def locate(find: Find = find) -> Binaries:
    """Every program's path. Raises ProgramsMissingError, which names all that are missing at once."""
    found = {wanted.program: find(wanted.program, wanted.folders) for wanted in _WANTED}
    missing = [wanted for wanted in _WANTED if found[wanted.program] is None]
    if missing:
        packages = list(dict.fromkeys(wanted.package for wanted in missing))
        raise ProgramsMissingError([wanted.program for wanted in missing], packages)
    return Binaries(**{program.replace("-", "_"): path for program, path in found.items() if path})


async def locate_or_install(say: Say, find: Find = find) -> Binaries:
    """`locate`, after installing Debian's packages if something is missing and this user may install it."""
    try:
        return locate(find)
    except ProgramsMissingError as missing:
        prefix = await _as_root(find)
        if prefix is None:
            raise
        say(f"installing {', '.join(missing.packages)} (about 10 s, once)")
        await uninterrupted(_install(prefix, missing.packages))
        return locate(find)


async def _as_root(find: Find) -> list[str] | None:
    """What to put before a command so that it runs as root; None when that, or apt-get, is not to be had."""
    if find("apt-get", "") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = find("sudo", "")
    if sudo is None:
        return None
    asked = await asyncio.create_subprocess_exec(sudo, "-n", "true", stderr=asyncio.subprocess.DEVNULL)
    return [sudo, "-n"] if await asked.wait() == 0 else None


async def _install(prefix: list[str], packages: list[str]) -> None:
    # In a session of its own: Ctrl-C must not leave dpkg half-way.
    process = await asyncio.create_subprocess_exec(
        *prefix, "/bin/sh", "-c", _INSTALL, "install", *packages,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"could not install {' '.join(packages)}:\n{output.decode(errors='replace')[-2000:].rstrip()}")
