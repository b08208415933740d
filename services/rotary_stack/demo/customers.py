"""The demo's customers, written to PostgreSQL as an administrator would."""

from hashlib import sha256
from importlib.resources import as_file, files

from msgspec import Struct

from rotary.bearer import new_token
from rotary.postgres.connection import Connection, connect
from rotary_admin.commands.customer import CustomerRow, read_customers
from rotary.management.definitions_file.apply import import_source
from rotary.management.definitions_file.read import read_source
from rotary.management.rows import insert


class Customer(Struct, frozen=True):
    """A customer with two tokens: `token` is for the person who watches, `inner_token` for the demo itself."""

    id: int
    name: str
    timezone: str
    token: str
    inner_token: str


async def create_customers(postgres_url: str) -> list[Customer]:
    """Imports `customers.yaml` into an empty database and creates the tokens, all in one transaction."""
    connection = await connect(postgres_url)
    try:
        async with connection.transaction():
            with as_file(files(__package__) / "customers.yaml") as path:
                await import_source(connection, read_source(path))
            return [await _with_tokens(connection, row) for row in await read_customers(connection)]
    finally:
        await connection.close(timeout=5)


async def _with_tokens(connection: Connection, row: CustomerRow) -> Customer:
    token = await _token(connection, {"customer_id": row.id, "name": "demo"})
    # It has no limit, so that what the demo reads takes nothing from what the watcher may.
    inner = await _token(connection, {"customer_id": row.id, "name": "dialer", "rate_limit_per_minute": None})
    return Customer(row.id, row.name, row.timezone, token, inner)


async def _token(connection: Connection, values: dict[str, object]) -> str:
    bearer = new_token()
    await insert(connection, "api_tokens", values | {"token_sha256": sha256(bearer.encode()).digest()})
    return bearer
