"""Every program answers `--help` and `--version`, rejects unknown arguments, and names the extra that it lacks."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

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

# Stands for a base install: the script's loading is what pip's own wrapper does.
RUN = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from {module} import {function}
sys.argv = {argv!r}
sys.exit({function}())
"""


def run(program: str, *arguments: str, without: frozenset[str] = frozenset()) -> subprocess.CompletedProcess[str]:
    """Runs a console script without any setting, and without these packages."""
    module, _, function = SCRIPTS[program].partition(":")
    code = RUN.format(blocked=set(without), module=module, function=function, argv=[program, *arguments])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTARY_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30, check=False)


def test_these_are_the_programs() -> None:
    assert sorted(SCRIPTS) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_printed_and_nothing_is_started(program: str, option: str) -> None:
    done = run(program, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith(f"usage: {program}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version_is_printed_and_nothing_is_started(program: str) -> None:
    done = run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{program}, version {__version__}\n", "")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("argument", ["--no-such-option", "no-such-command"])
def test_what_a_program_does_not_know_is_an_error(program: str, argument: str) -> None:
    done = run(program, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert argument in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", SERVERS)
def test_the_help_of_a_server_names_its_settings(program: str) -> None:
    lines = run(program, "--help").stdout.splitlines()
    assert "  ROTARY_REDIS_URL " in "\n".join(lines)
    assert any(line.split() == ["ROTARY_OPS_BIND", "host:port", "(default:", "0.0.0.0:9080)"] for line in lines)
    assert any("(required)" in line for line in lines)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_a_base_install_names_the_extra_that_is_missing(program: str, arguments: tuple[str, ...]) -> None:
    done = run(program, *arguments, without=frozenset(EXTRAS))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"{program}: ")
    distribution, extra = "rotary" if program == "rotary-dialer" else "rotary-server", program.removeprefix("rotary-")
    assert done.stderr.endswith(f"is not installed; run  pip install '{distribution}[{extra}]'\n")


def test_what_only_one_command_needs_is_named_as_well() -> None:
    done = run("rotary-stack", "up", without=frozenset({"asyncpg"}))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "asyncpg is not installed" in done.stderr


def test_a_defect_of_ours_is_not_taken_for_a_missing_package() -> None:
    done = run("rotary-dialer", without=frozenset({"rotary_dialer"}))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
