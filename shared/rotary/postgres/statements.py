"""The named SQL of this package: a file of blocks, each headed `-- name: <name>`."""

from functools import cache
from importlib import resources

_HEAD = "-- name: "


def parse(text: str) -> dict[str, str]:
    """Splits a file of named blocks; what stands before the first name is a comment on the file."""
    blocks = text.split(_HEAD)[1:]
    return {name.strip(): sql.strip() for name, sql in (block.split("\n", 1) for block in blocks)}


@cache
def statement(name: str) -> str:
    """The block called `name` in queries.sql."""
    return _queries()[name]


@cache
def _queries() -> dict[str, str]:
    return parse(resources.files("rotary.postgres").joinpath("queries.sql").read_text("utf-8"))
