"""The write model refuses with typed errors: a code, a field and a detail, whichever door a change comes through."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from rotary.management import caller_ids, customers, groups, members, tokens
from rotary.management.constraints import refusal
from rotary.management.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from rotary.management.fields import (
    CallerIdFields,
    CustomerFields,
    GroupFields,
    NewCallerId,
    NewCustomer,
    NewGroup,
    NewToken,
)
from rotary.management.validation import decode_fields
from rotary.postgres.connection import Connection

Change = Callable[[Connection], Awaitable[object]]
NEW_CALLER = NewCallerId(number="+8499", carrier="viettel")
NEW_GROUP = NewGroup(name="x", rotation_strategy="random")


@pytest.mark.parametrize(
    ("change", "kind", "field", "detail"),
    [
        (lambda c: caller_ids.create_caller_id(c, 9, NEW_CALLER), NotFoundError, "customer_id", "customer 9 does not"),
        (
            lambda c: caller_ids.create_caller_id(c, 7, NewCallerId(number="+8418", carrier="viettel")),
            *(ConflictError, "number", "this customer already has a caller ID with that number"),
        ),
        (
            lambda c: caller_ids.update_caller_id(c, 19, CallerIdFields(number="+8418")),
            *(ConflictError, "number", "this customer already has a caller ID with that number"),
        ),
        (
            lambda c: caller_ids.update_caller_id(c, 18, CallerIdFields(daily_cap=0)),  # not validated by its caller
            *(InvalidError, "daily_cap", "caller_ids_daily_cap_check"),
        ),
        (
            lambda c: caller_ids.update_caller_id(c, 18, CallerIdFields(number="12")),
            *(InvalidError, "number", "the number is not a phone number: expected 3 to 20 digits"),
        ),
        (
            lambda c: caller_ids.update_caller_id(c, 99, CallerIdFields(status="active")),
            NotFoundError,
            "id",
            "caller ID",
        ),
        (lambda c: caller_ids.delete_caller_id(c, 99), NotFoundError, "id", "caller ID 99 does not exist"),
        (lambda c: groups.create_group(c, 9, NEW_GROUP), NotFoundError, "customer_id", "customer 9 does not exist"),
        (lambda c: groups.update_group(c, 99, GroupFields(name="x")), NotFoundError, "id", "group 99 does not exist"),
        (lambda c: groups.delete_group(c, 99), NotFoundError, "id", "group 99 does not exist"),
        (lambda c: groups.read_group(c, 99), NotFoundError, "group_id", "group 99 does not exist"),
        (
            lambda c: customers.create_customer(c, NewCustomer(name="x", timezone="UTC+7")),
            *(InvalidError, "timezone", '"UTC+7" is not an IANA time zone'),
        ),
        (
            lambda c: customers.create_customer(c, NewCustomer(name="x", id=7)),
            *(ConflictError, "id", "that customer id is taken"),
        ),
        (
            lambda c: customers.update_customer(c, 9, CustomerFields(name="x")),
            *(NotFoundError, "id", "customer 9 does not exist"),
        ),
        (
            lambda c: members.plan_members(c, 3, {18: None, 28: 2}, exact=True),
            *(NotFoundError, "caller_ids", "customer 7 has no caller ID 28"),
        ),
        (
            lambda c: members.write_memberships(c, [(3, 28, 1)]),
            *(NotFoundError, "caller_ids", "this caller ID does not exist or belongs to another customer"),
        ),
        (
            lambda c: tokens.create_token(c, 7, NewToken(name="t", scopes=["telesales_api_access", "all"])),
            *(InvalidError, "scopes[1]", "unknown scope all; expected one of telesales_api_access"),
        ),
        (lambda c: tokens.read_token(c, 9), NotFoundError, "id", "token 9 does not exist"),
    ],
)
async def test_a_refusal_carries_its_code_its_field_and_its_detail(
    connection: Connection, change: Change, kind: type[RefusedError], field: str, detail: str
) -> None:
    before = await connection.fetch("SELECT * FROM caller_ids ORDER BY id")
    with pytest.raises(kind) as refused:
        await change(connection)
    assert (refused.value.code, refused.value.field) == (kind.code, field)
    assert detail in refused.value.detail
    assert await connection.fetch("SELECT * FROM caller_ids ORDER BY id") == before


async def test_what_exists_is_a_hint_for_operators_and_not_in_the_detail(connection: Connection) -> None:
    with pytest.raises(NotFoundError) as refused:
        await groups.list_groups(connection, 9)
    assert refused.value.hint == "the customers are 7 (Saigon), 8 (Hanoi)"
    assert "Saigon" not in str(refused.value)


def test_every_violation_of_an_input_is_reported_with_its_field() -> None:
    with pytest.raises(InvalidError) as refused:
        decode_fields(NewCallerId, {"number": "12", "carrier": "verizon", "daily_cap": 0})
    assert [violation.field for violation in refused.value.violations] == ["number", "carrier", "daily_cap"]


@pytest.mark.parametrize("kind", [NewCustomer, NewCallerId, NewGroup, NewToken, CustomerFields, CallerIdFields])
def test_an_unknown_field_is_refused_by_name(kind: type[NewCallerId]) -> None:
    with pytest.raises(InvalidError, match="unknown field `colour`"):
        decode_fields(kind, {"name": "x", "number": "111", "carrier": "other", "colour": "red"})


async def test_every_constraint_that_has_words_of_its_own_exists(connection: Connection) -> None:
    rows = await connection.fetch("SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace")
    stored = {row["conname"] for row in rows}
    error = asyncpg.CheckViolationError("unnamed")
    named = {name for name in stored if _refusal_named(error, name).detail != "unnamed"}
    assert {"caller_ids_customer_id_number_key", "customers_pkey", "caller_ids_number_is_digits"} <= named
    assert len(named) == 27


def _refusal_named(error: asyncpg.PostgresError, name: str) -> RefusedError:
    error.constraint_name = name
    return refusal(error)


async def test_members_are_what_was_planned(connection: Connection) -> None:
    plan = await members.plan_members(connection, 3, {18: 5, 20: None}, exact=True)
    assert plan.changes == members.MemberChanges(added=[20], reweighted=[18], removed=[19])
    await members.apply_plan(connection, plan)
    present = await members.read_memberships(connection, [3])
    assert [(row.caller_id, row.weight) for row in present] == [(18, 5), (20, 1)]
