"""Finds the servers' binaries, and installs them on a Debian machine that has none."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from rotary_stack.errors import BinariesMissingError, StackError
from rotary_stack.spawn import finish_even_if_cancelled

Find = Callable[[str, str], str | None]
"""Takes a binary's name and a glob of folders that take precedence over PATH; returns its full path or None."""

Report = Callable[[str], None]

# Debian starts each server it installs unless policy-rc.d forbids it.
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
    """Full paths of the binaries that a stack runs."""

    initdb: str
    postgres: str
    redis_server: str
    rabbitmq_server: str
    rabbitmqctl: str
    epmd: str


class _Requirement(Struct, frozen=True):
    binary: str
    package: str
    folders: str = ""


# /usr/sbin/rabbitmq-server switches to the user rabbitmq; the script in /usr/lib does not.
_REQUIREMENTS = (
    _Requirement("initdb", "postgresql", "/usr/lib/postgresql/*/bin"),
    _Requirement("postgres", "postgresql", "/usr/lib/postgresql/*/bin"),
    _Requirement("redis-server", "redis-server"),
    _Requirement("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    _Requirement("rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    _Requirement("epmd", "rabbitmq-server"),
)


def find(binary: str, folders: str) -> str | None:
    """The newest match in `folders` (a glob in which `*` stands for a version), or else the first on PATH."""
    pattern = f"{folders}/{binary}".lstrip("/")
    matches = [path for path in Path("/").glob(pattern) if os.access(path, os.X_OK)] if folders else []
    return str(max(matches, key=_version)) if matches else shutil.which(binary)


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


def locate(find: Find = find) -> Binaries:
    """The path of every binary. Raises BinariesMissingError, which lists all that are missing."""
    found = {requirement.binary: find(requirement.binary, requirement.folders) for requirement in _REQUIREMENTS}
    missing = [requirement for requirement in _REQUIREMENTS if found[requirement.binary] is None]
    if missing:
        packages = list(dict.fromkeys(requirement.package for requirement in missing))
        raise BinariesMissingError([requirement.binary for requirement in missing], packages)
    return Binaries(**{binary.replace("-", "_"): path for binary, path in found.items() if path})


async def locate_or_install(report: Report, find: Find = find) -> Binaries:
    """Like `locate`, but first installs Debian's packages if a binary is missing and this user may do so."""
    try:
        return locate(find)
    except BinariesMissingError as missing:
        prefix = await _root_prefix(find)
        if prefix is None:
            raise
        report(f"installing {', '.join(missing.packages)} (about 10 s, once)")
        await finish_even_if_cancelled(_install(prefix, missing.packages))
        return locate(find)


async def find_or_install(binary: str, package: str, report: Report, find: Find = find) -> str:
    """The path of a binary that no stack runs, for tests: as `locate_or_install`, of one of Debian's packages."""
    if found := find(binary, ""):
        return found
    prefix = await _root_prefix(find)
    if prefix is None:
        raise BinariesMissingError([binary], [package])
    report(f"installing {package} (about 30 s, once)")
    await finish_even_if_cancelled(_install(prefix, [package]))
    if found := find(binary, ""):
        return found
    raise BinariesMissingError([binary], [package])


async def _root_prefix(find: Find) -> list[str] | None:
    """The words before a command that make it run as root. None if there is no apt-get or no way to become root."""
    if find("apt-get", "") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = find("sudo", "")
    if sudo is None:
        return None
    check = await asyncio.create_subprocess_exec(sudo, "-n", "true", stderr=asyncio.subprocess.DEVNULL)
    return [sudo, "-n"] if await check.wait() == 0 else None


async def _install(prefix: list[str], packages: list[str]) -> None:
    # In a session of its own: Ctrl-C must not interrupt dpkg.
    process = await asyncio.create_subprocess_exec(
        *prefix, "/bin/sh", "-c", _INSTALL, "install", *packages,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"could not install {' '.join(packages)}:\n{output.decode(errors='replace')[-2000:].rstrip()}")
