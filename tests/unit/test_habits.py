"""The project's tools agree with each other: one list of packages, one list of checks, no tool in the image."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from coverage import Coverage

from mutants.__main__ import Mutant, Survivor, explained, function_of, judge

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOLS = PYPROJECT["tool"]
PACKAGES = set(TOOLS["mypy"]["packages"])
LOCKED = re.compile(r"^([a-z0-9][\w.-]*)==", re.MULTILINE)


def locked(path: str) -> set[str]:
    return set(LOCKED.findall((ROOT / path).read_text()))


@pytest.mark.parametrize(
    "packages",
    [TOOLS["coverage"]["run"]["source_pkgs"], TOOLS["mypy"]["packages"], TOOLS["importlinter"]["root_packages"]],
    ids=["coverage", "mypy", "import-linter"],
)
def test_every_package_of_the_product_is_measured_and_checked(packages: list[str]) -> None:
    assert set(packages) == PACKAGES


def test_every_file_of_the_product_is_in_a_measured_package() -> None:
    folders = [path for root in ("shared", "services") for path in (ROOT / root).iterdir() if path.is_dir()]
    assert {path.name for path in folders if any(path.rglob("*.py"))} == PACKAGES


def test_coverage_follows_child_processes_and_those_that_are_told_to_end() -> None:
    run = TOOLS["coverage"]["run"]
    assert (run["branch"], run["parallel"], run["sigterm"], run["patch"]) == (True, True, True, ["subprocess"])


def test_coverage_fails_below_what_contributing_promises() -> None:
    held = TOOLS["coverage"]["report"]["fail_under"]
    assert f"Coverage of branches stays at {held} % of the product or more." in (ROOT / "CONTRIBUTING.md").read_text()


PARENT = """
import subprocess, sys
child = "import rotary.errors, time; print('ready', flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, cwd="/")
process.stdout.readline()
process.terminate()
process.wait()
"""


def test_what_a_child_process_ran_before_sigterm_is_counted(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    data = tmp_path / "coverage"
    environ["COVERAGE_FILE"] = str(data)
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={ROOT / 'pyproject.toml'}", str(script)]
    subprocess.run(command, env=environ, cwd=tmp_path, check=True)
    found = Coverage(data_file=str(data), config_file=str(ROOT / "pyproject.toml"))
    found.combine([str(tmp_path)])
    assert found.get_data().lines(str(ROOT / "shared/rotary/errors.py"))


def test_pre_commit_runs_what_make_check_runs_and_fetches_nothing() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    commands = [line.strip().removeprefix("@").replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == commands
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_no_development_tool_is_in_the_image() -> None:
    tools = {re.split(r"[\[>=]", each)[0] for each in PYPROJECT["dependency-groups"]["dev"]}
    assert tools - {"hatchling", "editables"} <= locked("requirements.lock")
    assert locked("infra/images/requirements.prod.lock") & tools == set()


LOCKED_LINE = re.compile(
    r"""[a-z0-9][^/\s]*==[^/\s]+(\ ;\ [^/]+)?\ \\        # a package and its version
    |\ {4}--hash=sha256:[0-9a-f]{64}(\ \\)?
    |\ *\#[^/]*(\(services/pyproject\.toml\))?|        # or a comment: with no other slash there is no address""",
    re.VERBOSE,
)


@pytest.mark.parametrize(
    "path", ["requirements.lock", "infra/images/requirements.prod.lock", "infra/images/requirements.build.lock"]
)
def test_a_lock_has_a_hash_for_every_package_and_no_address(path: str) -> None:
    text = (ROOT / path).read_text()
    entries = re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert [line for line in text.splitlines() if not LOCKED_LINE.fullmatch(line)] == []


def test_every_survivor_has_a_reason() -> None:
    assert explained()
    assert [survivor.function for survivor in explained() if len(survivor.reason) < 10] == []


SURVIVOR = Survivor("rotary.domain.quota.today", "a < b", ("a <= b",), "Nobody can tell.")
KNOWN = Mutant("rotary.domain.quota.today", "a < b", "a <= b")
NEW = Mutant("rotary.domain.quota.today", "a < b", "a > b")


def test_a_mutant_without_a_reason_and_a_reason_without_a_mutant_are_problems() -> None:
    assert judge({KNOWN}, set(), (SURVIVOR,)) == []
    assert judge(set(), {KNOWN}, (SURVIVOR,)) == []
    (problem,) = judge({KNOWN, NEW}, set(), (SURVIVOR,))
    assert problem == "\nNo test notices this change of rotary.domain.quota.today:\n- a < b\n+ a > b"
    (stale,) = judge(set(), set(), (SURVIVOR,))
    assert "does not survive any more" in stale


@pytest.mark.parametrize(
    ("mutant", "function"),
    [
        ("rotary.domain.quota.x_today__mutmut_2", "rotary.domain.quota.today"),
        ("rotary.domain.quota.x__quarter__mutmut_4", "rotary.domain.quota._quarter"),
        ("rotary.domain.facts.xǁFactsǁcaller_facts__mutmut_11", "rotary.domain.facts.caller_facts"),
    ],
)
def test_a_mutant_is_known_by_its_function(mutant: str, function: str) -> None:
    assert function_of(mutant) == function
