"""Runs `rotary-admin dialer` against a stack that enforces permissions, and publishes as the users that it creates."""

from urllib.parse import urlsplit

import msgspec

from integration.admin_runner import Operator
from rotary.management.dialers import Access, Dialer
from rotary.publisher import Limits, Publisher

SOURCE = "/dialers/hcm-1"
CUSTOMER = 7


class DialerAdmin(Operator):
    """Runs rotary-admin with the walled stack's settings."""

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
