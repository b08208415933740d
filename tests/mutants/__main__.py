"""`python -m mutants`: changes `rotary.domain` in every small way, and asks the tests to notice.

mutmut makes the mutants and runs the tests. A mutant that no test notices must be in survivors.toml, by its function
and its line, with the reason why no test can: anything else exits with 1. So does an entry that is out of date.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORKSPACE = ROOT / ".mutants"
MUTMUT = str(Path(sys.executable).with_name("mutmut"))


class Mutant(NamedTuple):
    """One change: in which function, the line before, and after (empty where it is taken out)."""

    function: str
    was: str
    now: str


class Survivor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to one line that no test can notice, and why."""

    function: str
    was: str
    now: tuple[str, ...]
    reason: str

    def mutants(self) -> Iterator[Mutant]:
        """Each of the changes."""
        return (Mutant(self.function, self.was, now) for now in self.now)


class Survivors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """survivors.toml."""

    survivor: tuple[Survivor, ...]


def main() -> None:
    """Lays out the workspace, runs mutmut, judges what it found."""
    options = argparse.ArgumentParser("mutants", description="Mutation tests of rotary.domain.")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="tests at a time [default: cores]")
    options.add_argument(
        "--only", default="rotary.domain", metavar="MODULE", help="mutants of one module: rotary.domain.history"
    )
    given = options.parse_args()
    lay_out()
    module = f"{given.only}."
    mutmut("run", "--max-children", str(given.processes), f"{module}*", quiet=False)
    lines = mutmut("results", "--all", "true").splitlines()
    results = {name: status for name, status in (line.strip().split(": ") for line in lines) if name.startswith(module)}
    # A change that makes a loop endless or very long is noticed, unless a faster machine gets to the end of it.
    slow = {shown(name) for name, status in results.items() if status == "timeout"}
    unnoticed = {shown(name) for name, status in results.items() if status not in {"killed", "timeout"}}
    print(f"{len(results)} mutants; {len(unnoticed)} not noticed by any test; {len(slow)} with which tests do not end")
    problems = judge(unnoticed, slow, [one for one in explained() if one.function.startswith(module)])
    print("\n".join(problems) or "Each of these has a reason in tests/mutants/survivors.toml.")
    sys.exit(bool(problems) or not results)


def lay_out() -> None:
    """The domain and its tests as mutmut wants them, without the caches: they would answer for a mutant."""
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    shutil.copytree(ROOT / "shared" / "rotary", WORKSPACE / "src" / "rotary")
    for module in (WORKSPACE / "src" / "rotary" / "domain").rglob("*.py"):
        lines = module.read_text().splitlines(keepends=True)
        module.write_text("".join(line for line in lines if not line.startswith("@lru_cache")))
    tests = WORKSPACE / "tests"
    tests.mkdir()
    for path in (*(ROOT / "tests").glob("*.py"), *(ROOT / "tests" / "unit").glob("test_domain_*.py")):
        shutil.copy(path, tests)
    # Under other names here, or the whole suite would run with them.
    shutil.copy(HERE / "workspace_conftest.py", tests / "conftest.py")
    shutil.copy(HERE / "workspace.toml", WORKSPACE / "pyproject.toml")


def mutmut(*arguments: str, quiet: bool = True) -> str:
    """Runs it in the workspace; returns what it prints, if quiet."""
    done = subprocess.run(
        [MUTMUT, *arguments], cwd=WORKSPACE, text=True, stdout=subprocess.PIPE if quiet else None, check=False
    )
    if done.returncode:
        sys.exit(f"mutmut {arguments[0]} ended with {done.returncode}; its workspace: {WORKSPACE}")
    return done.stdout or ""


def function_of(name: str) -> str:
    """`rotary.domain.quota.x__quarter__mutmut_4` is a mutant of `rotary.domain.quota._quarter`."""
    module, _, mangled = name.rpartition("__mutmut_")[0].rpartition(".")
    *_, function = mangled.removeprefix("x_").split("ǁ")
    return f"{module}.{function}"


def shown(name: str) -> Mutant:
    """What a mutant changes, by mutmut's own diff."""
    lines = mutmut("show", name).splitlines()
    removed = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---")]
    added = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return Mutant(function_of(name), "\n".join(removed), "\n".join(added))


def explained() -> tuple[Survivor, ...]:
    """What survivors.toml says."""
    return msgspec.toml.decode((HERE / "survivors.toml").read_bytes(), type=Survivors).survivor


def judge(unnoticed: set[Mutant], slow: set[Mutant], survivors: Iterable[Survivor]) -> list[str]:
    """What is wrong, each in a few lines: mutants without a reason, reasons without a mutant."""
    known = {mutant for survivor in survivors for mutant in survivor.mutants()}
    problems = [
        f"\nNo test notices this change of {mutant.function}:\n- {mutant.was}\n+ {mutant.now}"
        for mutant in sorted(unnoticed - known)
    ]
    problems += [
        f"\nThis change of {mutant.function} is in survivors.toml and does not survive any more:\n+ {mutant.now}"
        for mutant in sorted(known - unnoticed - slow)
    ]
    return problems


if __name__ == "__main__":
    main()
