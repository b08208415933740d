"""The connections of one customer's dialer: a client of the engine, one of the API, and a publisher."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from zoneinfo import ZoneInfo

import aiohttp
from msgspec import Struct

from rotary.engine import Engine, EngineLimits
from rotary.publisher import Limits, Publisher
from rotary_demo.api_client import ApiClient
from rotary_demo.seed import Customer

API_TIMEOUT = aiohttp.ClientTimeout(total=3)
# Short, so that a killed broker does not delay the end of the demo.
LIMITS = Limits(deadline_seconds=5)
ENGINE_LIMITS = EngineLimits(deadline_seconds=3)


class CustomerClient(Struct, frozen=True):
    """One customer with clients and a publisher of its own."""

    customer: Customer
    zone: ZoneInfo
    api: ApiClient
    engine: Engine
    publisher: Publisher


async def open_clients(
    exits: AsyncExitStack, customers: list[Customer], variables: Mapping[str, str]
) -> list[CustomerClient]:
    """Connects each customer's dialer to the URLs in the stack's variables. `exits` closes the connections."""
    session = await exits.enter_async_context(aiohttp.ClientSession(timeout=API_TIMEOUT))
    clients = []
    for customer in customers:
        source = f"/dialers/{customer.name.partition(' ')[0].lower()}-1"
        publisher = Publisher(variables["ROTARY_RABBITMQ_URL"], customer_id=customer.id, source=source, limits=LIMITS)
        await exits.enter_async_context(publisher)
        api = ApiClient(session, variables["ROTARY_API_URL"], customer.dialer_token)
        engine = Engine(variables["ROTARY_ENGINE_URL"], customer.dialer_token, limits=ENGINE_LIMITS)
        await exits.enter_async_context(engine)
        clients.append(CustomerClient(customer, ZoneInfo(customer.timezone), api, engine, publisher))
    return clients
