"""Creates the demo's customers in PostgreSQL, with the code of `rotary-admin`."""

from hashlib import sha256
from importlib.resources import as_file, files

from msgspec import Struct

from rotary.bearer import new_token
from rotary.postgres.connection import Connection, connect
from rotary_admin.customers import CustomerRow, read_customers
from rotary_admin.importing import import_source
from rotary_admin.reading import read_source
from rotary_admin.rows import insert


class Customer(Struct, frozen=True):
    """A customer with two tokens: `token` is for the user of the demo, `dialer_token` for the demo's own requests."""

    id: int
    name: str
    timezone: str
    token: str
    dialer_token: str


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
    token = await _create_token(connection, {"customer_id": row.id, "name": "demo"})
    # Without a rate limit, and separate, so that the demo's own requests do not count against the user's token.
    dialer_token = await _create_token(
        connection, {"customer_id": row.id, "name": "dialer", "rate_limit_per_minute": None}
    )
    return Customer(row.id, row.name, row.timezone, token, dialer_token)


async def _create_token(connection: Connection, values: dict[str, object]) -> str:
    bearer = new_token()
    await insert(connection, "api_tokens", values | {"token_sha256": sha256(bearer.encode()).digest()})
    return bearer
