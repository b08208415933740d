"""The customer that the token belongs to."""

from msgspec import structs

from rotary.definitions import MANAGE_SCOPE
from rotary.management import customers as model
from rotary.management.fields import CustomerFields
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Reply, Section
from rotary_campaigns.http.rows import row_reply
from rotary_campaigns.http.schemas import CustomerShown

_SECTION = Section("/api/management/customer", "Customer", MANAGE_SCOPE, "Customer not found.")


async def read_customer(call: Call) -> Reply:
    """The customer."""
    return row_reply(CustomerShown, await model.read_customer(call.connection, call.customer_id))


async def update_customer(call: Call) -> Reply:
    """Changes the given fields."""
    target = structs.replace(call, row_id=call.customer_id).target
    return row_reply(CustomerShown, await model.update_customer(call.connection, target, call.body))


RESOURCES = (
    _SECTION.resource(
        "customer",
        "",
        operations.read(
            name="getCustomer",
            summary="Read your time zone and policy",
            handler=read_customer,
            answer=CustomerShown,
        ),
        operations.update(
            name="updateCustomer",
            summary="Change your time zone or policy",
            description=(
                "Fields that are absent keep their value. `policy` is replaced as a whole: what it does not "
                "have takes the default; null takes every default."
            ),
            handler=update_customer,
            body=CustomerFields,
            answer=CustomerShown,
        ),
    ),
)
