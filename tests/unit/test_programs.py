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

# Loads scripts as pip's own wrapper does, each in a fork, and runs it in forks of that for each list of arguments:
# loading is most of the work. Without the blocked packages it stands for a base install.
RUN = """
import importlib, json, os, sys

scripts, argument_lists, blocked = json.loads(sys.argv[1])

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def load(program, script):
    module, _, function = script.partition(":")
    main = getattr(importlib.import_module(module), function)
    if not blocked:
        importlib.import_module(program.replace("-", "_") + ".cli")
    statuses = [in_fork(run, program, main, number) for number in range(len(argument_lists))]
    with open(f"{program}.statuses", "w") as file:
        json.dump(statuses, file)
    sys.exit()

def run(program, main, number):
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{program}.{number}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = [program, *argument_lists[number]]
    try:
        sys.exit(main())
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(ended.code or 0)  # a fork of all that was loaded takes longer to tear down than it ran

def in_fork(what, *arguments):
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    what(*arguments)

sys.meta_path.insert(0, Blocked())
if any([in_fork(load, *each) for each in scripts.items()]):
    sys.exit("a script cannot be loaded")
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
def all_done(
    programs: tuple[str, ...], argument_lists: tuple[Arguments, ...], without: frozenset[str] = frozenset()
) -> Mapping[tuple[str, Arguments], Done]:
    """Runs console scripts without any setting, and without these packages, for each list of arguments."""
    scripts = {program: SCRIPTS[program] for program in programs}
    told = json.dumps([scripts, argument_lists, sorted(without)])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTARY_")}
    with TemporaryDirectory() as name:
        command = [sys.executable, "-c", RUN, told]
        ended = subprocess.run(command, cwd=name, env=environ, timeout=60, check=False, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        return {
            (program, arguments): done
            for program in programs
            for arguments, done in zip(argument_lists, _read(Path(name), program), strict=True)
        }


def _read(folder: Path, program: str) -> list[Done]:
    return [
        Done(status, *((folder / f"{program}.{number}.{kind}").read_text() for kind in ("out", "err")))
        for number, status in enumerate(json.loads((folder / f"{program}.statuses").read_text()))
    ]


def run(program: str, *arguments: str) -> Done:
    """Runs a console script with one of ARGUMENTS."""
    return all_done(tuple(PROGRAMS), ARGUMENTS)[program, arguments]


def run_without(packages: set[str], program: str, *arguments: str) -> Done:
    """Runs a console script where these packages are not installed."""
    return all_done((program,), (arguments,), frozenset(packages))[program, arguments]


def run_base(program: str, arguments: Arguments) -> Done:
    """Runs a console script of a base install with one of BASE_ARGUMENTS."""
    return all_done(tuple(PROGRAMS), BASE_ARGUMENTS, frozenset(EXTRAS))[program, arguments]


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
    done = run_base(program, arguments)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"{program}: ")
    distribution, extra = "rotary" if program == "rotary-dialer" else "rotary-server", program.removeprefix("rotary-")
    assert done.err.endswith(f"is not installed; run  pip install '{distribution}[{extra}]'\n")


def test_a_service_is_loaded_without_what_it_does_not_use() -> None:
    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); sys.argv[1:] = ['--version']; "
    command = [sys.executable, "-c", f"{tell} from rotary.runtime.programs import query; query()"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "structlog.dev" in loaded
    assert not any(name.startswith(("rich.", "opentelemetry.")) for name in loaded)


def test_what_only_one_command_needs_is_named_as_well() -> None:
    done = run_without({"asyncpg"}, "rotary-stack", "up")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "asyncpg is not installed" in done.err


def test_a_defect_of_ours_is_not_taken_for_a_missing_package() -> None:
    done = run_without({"rotary_dialer"}, "rotary-dialer")
    assert done.status == 1
    assert "Traceback" in done.err
