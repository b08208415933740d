"""Every program answers `--help` and `--version`, rejects unknown arguments, and names the extra that it lacks."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from rotary import __version__

PROGRAMS = [
    "rotary-admin",
    "rotary-campaigns",
    "rotary-console",
    "rotary-consumer",
    "rotary-dialer",
    "rotary-engine",
    "rotary-query",
    "rotary-stack",
]
SERVERS = ["rotary-campaigns", "rotary-console", "rotary-consumer", "rotary-engine", "rotary-query"]
SCRIPTS = {
    script.name: script.value
    for script in entry_points(group="console_scripts")
    if script.dist and script.dist.name in {"rotary", "rotary-server"}
}
EXTRAS = {"click", "rich", "redis", "aiohttp", "uvloop", "structlog", "prometheus_client", "asyncpg", "yaml"}
"""What a base install does not bring, by the names that are imported."""

# Loads a script as pip's own wrapper does, once, and runs it in a fork for each list of arguments: loading is most of
# the work. Without the blocked packages it stands for a base install.
RUN = """
import json, os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from {module} import {function}
if not {blocked!r}:
    import {package}.__main__
statuses = []
for number, arguments in enumerate({arguments!r}):
    if not (pid := os.fork()):
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{{number}}.{{name}}", os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv = [{program!r}, *arguments]
        break
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    print(json.dumps(statuses))
    sys.exit()
sys.exit({function}())
"""
Arguments = tuple[str, ...]
ARGUMENTS: tuple[Arguments, ...] = (
    *(("--help",), ("-h",), ("--version",), ("--no-such-option",), ("no-such-command",)),
)
BASE_ARGUMENTS: tuple[Arguments, ...] = ((), ("--help",))


class Done(NamedTuple):
    """What a program ended with."""

    status: int
    out: str
    err: str


@cache
def all_done(program: str, argument_lists: tuple[Arguments, ...], without: frozenset[str]) -> Mapping[Arguments, Done]:
    """Runs a console script without any setting, and without these packages, for each list of arguments."""
    module, _, function = SCRIPTS[program].partition(":")
    names = {"module": module, "function": function, "package": program.replace("-", "_")}
    code = RUN.format(blocked=set(without), program=program, arguments=argument_lists, **names)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTARY_")}
    with TemporaryDirectory() as name:
        command = [sys.executable, "-c", code]
        told = subprocess.run(command, cwd=name, stdout=subprocess.PIPE, env=environ, timeout=30, check=True).stdout
        files = [[Path(name, f"{number}.{kind}") for kind in ("out", "err")] for number in range(len(argument_lists))]
        texts = [[file.read_text() for file in pair] for pair in files]
    statuses = json.loads(told)
    done = [Done(status, out, err) for status, (out, err) in zip(statuses, texts, strict=True)]
    return dict(zip(argument_lists, done, strict=True))


def run(program: str, *arguments: str) -> Done:
    """Runs a console script with one of ARGUMENTS."""
    return all_done(program, ARGUMENTS, frozenset())[arguments]


def run_without(packages: set[str], program: str, *arguments: str) -> Done:
    """Runs a console script where these packages are not installed."""
    lists = BASE_ARGUMENTS if arguments in BASE_ARGUMENTS else (arguments,)
    return all_done(program, lists, frozenset(packages))[arguments]


def test_these_are_the_programs() -> None:
    assert sorted(SCRIPTS) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_printed_and_nothing_is_started(program: str, option: str) -> None:
    done = run(program, option)
    assert (done.status, done.err) == (0, "")
    assert done.out.lower().startswith(f"usage: {program}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version_is_printed_and_nothing_is_started(program: str) -> None:
    done = run(program, "--version")
    assert (done.status, done.out, done.err) == (0, f"{program}, version {__version__}\n", "")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("argument", ["--no-such-option", "no-such-command"])
def test_what_a_program_does_not_know_is_an_error(program: str, argument: str) -> None:
    done = run(program, argument)
    assert (done.status, done.out) == (2, "")
    assert argument in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("program", SERVERS)
def test_the_help_of_a_server_names_its_settings(program: str) -> None:
    lines = run(program, "--help").out.splitlines()
    assert "  ROTARY_REDIS_URL " in "\n".join(lines)
    assert any(line.split() == ["ROTARY_OPS_BIND", "host:port", "(default:", "0.0.0.0:9080)"] for line in lines)
    assert any("(required)" in line for line in lines)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", BASE_ARGUMENTS)
def test_a_base_install_names_the_extra_that_is_missing(program: str, arguments: tuple[str, ...]) -> None:
    done = run_without(EXTRAS, program, *arguments)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"{program}: ")
    distribution, extra = "rotary" if program == "rotary-dialer" else "rotary-server", program.removeprefix("rotary-")
    assert done.err.endswith(f"is not installed; run  pip install '{distribution}[{extra}]'\n")


def test_what_only_one_command_needs_is_named_as_well() -> None:
    done = run_without({"asyncpg"}, "rotary-stack", "up")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "asyncpg is not installed" in done.err


def test_a_defect_of_ours_is_not_taken_for_a_missing_package() -> None:
    done = run_without({"rotary_dialer"}, "rotary-dialer")
    assert done.status == 1
    assert "Traceback" in done.err
