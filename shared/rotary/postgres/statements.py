"""Named SQL: a package keeps its statements in `queries.sql`, in blocks that begin with `-- name: <name>`."""

from functools import cache
from importlib import resources

_HEAD = "-- name: "


def parse(text: str) -> dict[str, str]:
    """Splits a file of named blocks. Text before the first name is ignored."""
    blocks = text.split(_HEAD)[1:]
    return {name.strip(): sql.strip() for name, sql in (block.split("\n", 1) for block in blocks)}


@cache
def statements(package: str) -> dict[str, str]:
    """The statements of `package` by name."""
    return parse(resources.files(package).joinpath("queries.sql").read_text("utf-8"))


def statement(name: str) -> str:
    """The statement called `name` of this package."""
    return statements("rotary.postgres")[name]
