"""Runs rotary-admin in this process: against a database, or in a thread while the test's own loop goes on."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from integration.private_database import rows
from rotary_admin.cli import cli

EXAMPLE = Path(__file__).parents[2] / "infra" / "example"
DEFINITIONS = str(EXAMPLE / "definitions.yaml")


class Admin:
    """Runs commands in this process against one database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: object, answer: str | None = None) -> Result:
        return _run(arguments, {"ROTARY_POSTGRES_URL": self.url}, answer)

    def done(self, *arguments: object, answer: str | None = None) -> str:
        """The standard output of a command that has to succeed."""
        return _stdout(self(*arguments, answer=answer))

    def json(self, *arguments: object) -> object:
        return json.loads(self.done(*arguments, "--json"))

    def refused(self, *arguments: object, code: int = 1) -> str:
        """The standard error of a command that has to fail."""
        return _stderr(self(*arguments), code)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return rows(self.url, query)


class Operator:
    """Runs commands in a thread of this process, with these settings. Nobody answers what they ask."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)

    async def __call__(self, *arguments: object, **settings: str) -> Result:
        return await asyncio.to_thread(_run, arguments, self.environ | settings)

    async def done(self, *arguments: object) -> str:
        """The standard output of a command that has to succeed."""
        return _stdout(await self(*arguments))

    async def refused(self, *arguments: object, code: int = 1, **settings: str) -> str:
        """The standard error of a command that has to fail."""
        return _stderr(await self(*arguments, **settings), code)


def _run(arguments: Iterable[object], environ: Mapping[str, str], answer: str | None = None) -> Result:
    result = CliRunner().invoke(cli, [str(each) for each in arguments], input=answer, env=environ)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _stdout(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def _stderr(result: Result, code: int) -> str:
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return result.stderr


def dump(admin: Admin) -> list[list[tuple[object, ...]]]:
    """All rows of the definitions' tables."""
    tables = ("customers", "caller_ids", "caller_id_groups", "caller_id_group_members", "api_tokens")
    return [admin.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
