"""The connections of one customer's dialer: an API client and a publisher."""

from contextlib import AsyncExitStack
from zoneinfo import ZoneInfo

import aiohttp
from msgspec import Struct

from rotary.publisher import Limits, Publisher
from rotary_demo.api_client import ApiClient
from rotary_demo.seed import Customer

API_TIMEOUT = aiohttp.ClientTimeout(total=3)
# Short, so that a killed broker does not delay the end of the demo.
LIMITS = Limits(deadline_seconds=5)


class CustomerClient(Struct, frozen=True):
    """One customer with an API client and a publisher of its own."""

    customer: Customer
    zone: ZoneInfo
    api: ApiClient
    publisher: Publisher


async def open_clients(
    exits: AsyncExitStack, customers: list[Customer], api_url: str, rabbitmq_url: str
) -> list[CustomerClient]:
    """Connects each customer's dialer. `exits` closes the connections."""
    session = await exits.enter_async_context(aiohttp.ClientSession(timeout=API_TIMEOUT))
    clients = []
    for customer in customers:
        source = f"/dialers/{customer.name.partition(' ')[0].lower()}-1"
        publisher = Publisher(rabbitmq_url, customer_id=customer.id, source=source, limits=LIMITS)
        await exits.enter_async_context(publisher)
        api = ApiClient(session, api_url, customer.dialer_token)
        clients.append(CustomerClient(customer, ZoneInfo(customer.timezone), api, publisher))
    return clients
