"""Aliases in a definitions file: they save typing, and can't make a small file a large one."""

import pytest

from rotary.management.definitions_file import read_yaml
from rotary.management.definitions_file.mistakes import InvalidFileError
from rotary.management.definitions_file.read import read_content

GROUP = "{{name: g{0}, rotation_strategy: random, members: {1}}}"


def definitions(groups: int, members: int) -> bytes:
    """A file whose groups all have the members of the first one."""
    first = GROUP.format(0, "&m [" + ", ".join(f"'09{at:06d}'" for at in range(members)) + "]")
    others = [GROUP.format(at, "*m") for at in range(1, groups)]
    return f"customers: [{{groups: [{', '.join([first, *others])}]}}]".encode()


def test_groups_may_share_their_list_of_members() -> None:
    assert read_content("x.yaml", definitions(20, 50), "yaml", 7).rows == 20 * 50


def test_a_small_file_that_repeats_a_long_list_without_end_is_refused_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_yaml, "MAX_REPEATED", 1_000)
    with pytest.raises(InvalidFileError, match=r"x.yaml:1: the aliases of the file repeat more than 1,000 values"):
        read_content("x.yaml", definitions(40, 50), "yaml", 7)


def test_aliases_of_aliases_count_as_everything_that_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_yaml, "MAX_REPEATED", 1_000_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 12)]
    with pytest.raises(InvalidFileError, match=r"x.yaml:\d+: the aliases"):
        read_content("x.yaml", "\n".join(lines).encode(), "yaml", 7)
