"""The customer that the token belongs to."""

from msgspec import structs

from rotary.definitions import MANAGE_SCOPE
from rotary.management import customers as model
from rotary.management.fields import CustomerFields
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import CustomerShown, shown


async def read_customer(call: Call) -> Reply:
    """The customer."""
    return _reply(await model.read_customer(call.connection, call.customer_id))


async def update_customer(call: Call) -> Reply:
    """Changes the given fields."""
    target = structs.replace(call, row_id=call.customer_id).target
    return _reply(await model.update_customer(call.connection, target, call.body))


def _reply(row: model.Customer) -> Reply:
    return Reply(shown(CustomerShown, row), row.version)


RESOURCES = (
    Resource(
        "customer",
        "/api/management/customer",
        "Customer",
        MANAGE_SCOPE,
        "Customer not found.",
        (
            Operation(
                method="GET",
                name="getCustomer",
                summary="Read your time zone and policy",
                handler=read_customer,
                answer=CustomerShown,
            ),
            Operation(
                method="PUT",
                name="updateCustomer",
                summary="Change your time zone or policy",
                description=(
                    "Fields that are absent keep their value. `policy` is replaced as a whole: what it does not "
                    "have takes the default; null takes every default."
                ),
                handler=update_customer,
                body=CustomerFields,
                answer=CustomerShown,
                precondition="required",
            ),
        ),
    ),
)
