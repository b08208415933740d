"""Runs `rotary-admin dialer` against a stack that enforces permissions, and publishes as the users that it creates."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from click.testing import CliRunner, Result

from rotary.management.dialers import Access, Dialer
from rotary.publisher import Limits, Publisher
from rotary_admin.__main__ import cli

SOURCE = "/dialers/hcm-1"
CUSTOMER = 7


class DialerAdmin:
    """Runs rotary-admin in a thread of this process, with the walled stack's settings."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)

    async def __call__(self, *arguments: object, **settings: str) -> Result:
        environ = self.environ | settings
        words = [str(each) for each in arguments]
        result = await asyncio.to_thread(CliRunner().invoke, cli, words, input="", env=environ)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    async def done(self, *arguments: object) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    async def refused(self, *arguments: object, code: int, **settings: str) -> str:
        """The standard error of a command that has to fail."""
        result = await self(*arguments, **settings)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr

    async def create(self, name: str, *options: object, customer: int = CUSTOMER) -> Access:
        created = await self.done("dialer", "create", name, "--customer", customer, "--json", *options)
        return msgspec.json.decode(created, type=Access)

    async def dialers(self) -> dict[str, Dialer]:
        rows = msgspec.json.decode(await self.done("dialer", "list", "--json"), type=list[Dialer])
        return {row.name: row for row in rows}


def as_user(url: str, user: str, password: str) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{user}:{password}@{host}").geturl()


def publisher(url: str, customer_id: int = CUSTOMER, seconds: float = 30) -> Publisher:
    return Publisher(url, customer_id=customer_id, source=SOURCE, limits=Limits(deadline_seconds=seconds))
