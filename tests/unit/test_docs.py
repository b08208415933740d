"""The documents are tested: every link, every path and every document that is cited is in this repository."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIRD_PARTY = (
    "tests/asyncapi/",
    *(f"{package['to']}/" for package in tomllib.loads((ROOT / "infra" / "vendor.toml").read_text())["package"]),
)
"""What others wrote, as it was published: AsyncAPI's schema and licence, and what infra/vendor.toml names."""
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DOCUMENT = re.compile(r"(?<![\w./-])(?:docs/[\w./-]*\w|(?:[\w-]+/)*[A-Za-z][\w-]*\.md)\b")
"""A document by its path, as docs and comments cite it."""
MODULE = re.compile(r"\b[Ss]ee (?:also )?`?([\w/]+\.(?:py|lua|sql|toml|yaml|conf))\b")
"""What a comment sends its reader to."""
NOT_HERE = re.compile(
    r"\b(?:DESIGN|HOUSE|FACTS|STYLE)(?:\.md)?(?= (?:section )?\d|[,;:.)]? ?§|\.md\b|\))|§ ?\d|\.\./shared\b(?!/rotary)"
)
"""Documents that the project once had beside the repository, and numbered sections, which nothing here has."""


@cache
def files() -> tuple[str, ...]:
    """Every text file of the repository that is ours, by its path: those that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return tuple(path for path in listed if not path.startswith(THIRD_PARTY) and (ROOT / path).is_file())


@cache
def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def markdown() -> list[str]:
    return [path for path in files() if path.endswith(".md")]


def prose() -> list[str]:
    """The files that somebody writes for somebody. This one is full of examples of what must not be there."""
    return [
        path for path in files() if not path.endswith((".lock", ".json", ".png")) and path != "tests/unit/test_docs.py"
    ]


def anchors(path: str) -> set[str]:
    """The fragments that a document's headings have, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text(path)), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in plain}


def broken(path: str, target: str) -> str | None:
    """Why a relative link of a document leads nowhere; None if it leads somewhere."""
    name, _, fragment = target.partition("#")
    found = (ROOT / path).parent / name if name else ROOT / path
    if not found.resolve().is_relative_to(ROOT):
        return f"{path}: {target} leaves the repository"
    if not found.exists():
        return f"{path}: {target} does not exist"
    if fragment and found.suffix == ".md" and fragment not in anchors(str(found.resolve().relative_to(ROOT))):
        return f"{path}: {target} names no heading"
    return None


def links(path: str) -> Iterator[str]:
    """A document's links to files, without those to other hosts."""
    return (found for found in LINK.findall(FENCE.sub("", text(path))) if not re.match(r"[a-z]+:", found))


def test_there_are_documents_with_links() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/decisions/README.md"} <= set(markdown())
    assert sum(1 for path in markdown() for _ in links(path)) > 20


@pytest.mark.parametrize("path", markdown())
def test_every_relative_link_leads_to_a_file_and_a_heading_of_the_repository(path: str) -> None:
    assert [why for target in links(path) if (why := broken(path, target))] == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    assert broken("README.md", "docs/exactly-once.md#the-argument") is None
    assert broken("README.md", "docs/nothing.md") == "README.md: docs/nothing.md does not exist"
    assert broken("README.md", "docs/exactly-once.md#nothing") == (
        "README.md: docs/exactly-once.md#nothing names no heading"
    )
    assert broken("docs/meaning.md", "../../shared/HOUSE.md") is not None


def exists(path: str, cited: str) -> bool:
    """Whether what a file cites is there: from the root, beside the file, or by its last part in the file's package."""
    at = (ROOT / cited, (ROOT / path).parent / cited)
    return any(each.exists() for each in at) or any(known.endswith("/" + cited) for known in files())


def cited_and_not_here(path: str) -> set[str]:
    """What a file sends its reader to that the repository does not have."""
    # The URLs of other hosts, the API's own path /docs and links, which have a test of their own, are no citations.
    said = re.sub(r"https?://\S+", "", LINK.sub("", text(path)))
    cited = {*DOCUMENT.findall(said), *MODULE.findall(said)}
    return {each for each in cited if not exists(path, each)} | set(NOT_HERE.findall(said))


def test_every_document_and_module_that_is_cited_is_here() -> None:
    # One test: there are as many files as a sixth of all tests, and to report one takes longer than to read it.
    assert {path: missing for path in prose() if (missing := cited_and_not_here(path))} == {}


@pytest.mark.parametrize(
    "line", ["Source: DESIGN section 2.", "(STYLE 6)", "as HOUSE.md says", "(HOUSE)", "FACTS §3", "in ../shared", "§4"]
)
def test_a_document_that_is_not_here_is_found(line: str) -> None:
    assert NOT_HERE.search(line)


@pytest.mark.parametrize("line", ["NO_FACTS", "GROUP_STYLE = 1", "the FACTS table", "DESIGN"])
def test_words_that_cite_nothing_are_left_alone(line: str) -> None:
    assert not NOT_HERE.search(line)


def test_every_decision_is_listed_in_order_with_the_three_headings() -> None:
    records = sorted((ROOT / "docs/decisions").glob("0*.md"))
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", text("docs/decisions/README.md"), re.MULTILINE)
    assert [number for number, _, _ in listed] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record, (number, name, title) in zip(records, listed, strict=True):
        assert record.name == name
        lines = record.read_text().splitlines()
        assert lines[0] == f"# {number}: {title}"
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
        assert f"docs/decisions/{name}" in text("README.md")


PATH = re.compile(r"`((?:shared|services|tests|infra|docs)/[\w./-]+|\.ci/run|[\w-]+\.(?:toml|lock|md))`")
TARGET = re.compile(r"(?:\$ |`)make (\w+)")


@pytest.mark.parametrize("path", [path for path in markdown() if path != "CHANGELOG.md"])
def test_every_path_and_make_target_that_is_named_exists(path: str) -> None:
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    assert {name for name in PATH.findall(text(path)) if not exists(path, name)} == set()
    assert set(TARGET.findall(text(path))) <= targets


def test_contributing_lists_every_make_target() -> None:
    targets = set(re.findall(r"^(\w+):.*##", text("Makefile"), re.MULTILINE)) - {"help"}
    assert targets == set(re.findall(r"^\| `make (\w+)` \|", text("CONTRIBUTING.md"), re.MULTILINE))
