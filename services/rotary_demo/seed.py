"""Creates the demo's customers in PostgreSQL, with the code of `rotary-admin`."""

from importlib.resources import as_file, files

from msgspec import Struct

from rotary.definitions import PICK_SCOPE, SCOPE
from rotary.management import users
from rotary.management.customers import Customer as StoredCustomer
from rotary.management.customers import list_customers
from rotary.management.definitions_file.apply import apply_source
from rotary.management.definitions_file.read import read_source
from rotary.management.fields import NewToken, NewUser
from rotary.management.passwords import generate_password, hash_password
from rotary.management.tokens import create_token
from rotary.postgres.connection import Connection, connect

CONSOLE_USER = "demo"


class Customer(Struct, frozen=True):
    """A customer with two tokens: `token` is for the user of the demo, `dialer_token` for the demo's own requests.

    `password` is that of CONSOLE_USER, who administers every customer.
    """

    id: int
    name: str
    timezone: str
    token: str
    dialer_token: str
    password: str


async def create_customers(postgres_url: str) -> list[Customer]:
    """Imports `customers.yaml` into an empty database and creates the tokens, all in one transaction."""
    connection = await connect(postgres_url)
    try:
        async with connection.transaction():
            with as_file(files(__package__) / "customers.yaml") as path:
                await apply_source(connection, read_source(path))
            customers = await list_customers(connection)
            password = await _create_user(connection, [row.id for row in customers])
            return [await _with_tokens(connection, row, password) for row in customers]
    finally:
        await connection.close(timeout=5)


async def _create_user(connection: Connection, customers: list[int]) -> str:
    """Creates the user of the console, and returns the password."""
    password = generate_password()
    user = await users.create_user(connection, NewUser(name=CONSOLE_USER), hash_password(password))
    for customer in customers:
        await users.set_role(connection, user.id, customer, "admin")
    return password


async def _with_tokens(connection: Connection, row: StoredCustomer, password: str) -> Customer:
    _, token = await create_token(connection, row.id, NewToken(name="demo", scopes=[SCOPE, PICK_SCOPE]))
    # Without a rate limit, and separate, so that the demo's own requests do not count against the user's token.
    dialer = NewToken(name="dialer", scopes=[SCOPE, PICK_SCOPE], rate_limit_per_minute=None)
    _, dialer_token = await create_token(connection, row.id, dialer)
    return Customer(row.id, row.name, row.timezone, token, dialer_token, password)
