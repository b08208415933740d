"""The page that the console serves names every module of a first page: none waits until another one has arrived."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "services/rotary_console/static"
INDEX = (STATIC / "index.html").read_text()
IMPORT = re.compile(r"^(?:import|export)\b[^;\"]*from\s*\"([^\"]+)\"|^import\s*\"([^\"]+)\"", re.MULTILINE)
FIRST = ("js/main.js", "js/pages/groups.js", "js/pages/group.js")
"""What starts, and the pages that people open first."""


def modules() -> list[Path]:
    return sorted(path for path in STATIC.rglob("*.js"))


def imported(path: Path) -> Iterator[str]:
    """What a module imports as it is loaded."""
    for found in IMPORT.finditer(path.read_text()):
        yield next(each for each in found.groups() if each)


def graph(path: Path, seen: set[Path]) -> set[Path]:
    """A module and all that it imports, directly or not."""
    if path not in seen:
        seen.add(path)
        for name in imported(path):
            graph((path.parent / name).resolve(), seen)
    return seen


def test_every_module_of_a_first_page_is_preloaded_and_nothing_else() -> None:
    needed: set[Path] = set()
    for name in FIRST:
        graph(STATIC / name, needed)
    preloaded = re.findall(r"<link rel=\"modulepreload\" href=\"/assets/([^\"]+)\">", INDEX)
    assert preloaded == sorted(str(path.relative_to(STATIC)) for path in needed - {STATIC / "js/main.js"})


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(STATIC)))
def test_modules_import_by_relative_paths_that_exist(path: Path) -> None:
    code = path.read_text()
    names = [*imported(path), *re.findall(r"\bimport\(\"([^\"]+)\"\)", code)]
    assert [name for name in names if not name.startswith(".") or not (path.parent / name).resolve().is_file()] == []


def test_the_page_has_no_script_or_style_of_its_own_and_names_no_other_host() -> None:
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", INDEX) == []
    assert all((STATIC / name).is_file() for name in re.findall(r"(?:href|src)=\"/assets/([^\"]+)\"", INDEX))


@pytest.mark.parametrize(
    "word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "eval(", "new Function"]
)
def test_no_module_of_ours_makes_markup_or_code_out_of_text(word: str) -> None:
    ours = [path for path in modules() if "vendor" not in path.parts]
    assert [path.name for path in ours if word in path.read_text()] == []
