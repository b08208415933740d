"""This package's statements."""

from rotary.postgres.statements import statements


def statement(name: str) -> str:
    """The statement called `name` in queries.sql."""
    return statements("rotary.management")[name]
