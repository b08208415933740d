"""The tables' constraints as refusals: what a statement raises when it breaks one, by the constraint's name."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from rotary.management.errors import ConflictError, InvalidError, NotFoundError, RefusedError, Violation
from rotary.management.fields import NOT_A_NUMBER, NOT_PLAIN

_NO_CUSTOMER = ("customer_id", "this customer does not exist")

_GROUP_IN_USE = ("caller_id_group_id", "a campaign that is active or paused uses this group")

_NOT_FOUND = {
    "caller_ids_customer_id_fkey": _NO_CUSTOMER,
    "caller_id_groups_customer_id_fkey": _NO_CUSTOMER,
    "api_tokens_customer_id_fkey": _NO_CUSTOMER,
    "campaigns_customer_id_fkey": _NO_CUSTOMER,
    "webhooks_customer_id_fkey": _NO_CUSTOMER,
    "user_roles_customer_id_fkey": _NO_CUSTOMER,
    "member_group_of_one_customer": ("group_id", "this group does not exist"),
    "member_caller_id_of_one_customer": ("caller_ids", "this caller ID does not exist or belongs to another customer"),
}
_CONFLICT = {
    "caller_ids_customer_id_number_key": ("number", "this customer already has a caller ID with that number"),
    "campaigns_name_is_unique": ("name", "this customer already has a campaign with that name"),
    "campaigns_status_transition": ("status", "the campaign can't get this status from the one that it has"),
    "campaigns_group_in_use": _GROUP_IN_USE,
    "campaigns_running_has_group": _GROUP_IN_USE,
    "campaigns_pkey": ("id", "that campaign id is taken, perhaps by another customer"),
    "users_name_is_unique": ("name", "this user name is taken"),
    "users_oidc_subject_is_unique": ("name", "another user is linked to this account of the sign-in provider"),
    "customers_pkey": ("id", "that customer id is taken"),
    "caller_ids_pkey": ("id", "that caller ID id is taken, perhaps by another customer"),
    "caller_id_groups_pkey": ("id", "that group id is taken, perhaps by another customer"),
}
_INVALID = {
    "campaigns_name_is_plain": ("name", f"the campaign's name {NOT_PLAIN}"),
    "campaigns_group_is_usable": ("caller_id_group_id", "this group does not exist or is disabled"),
    "caller_ids_number_is_digits": ("number", f"the number {NOT_A_NUMBER}"),
    "caller_ids_display_name_is_plain": ("display_name", f"the display name {NOT_PLAIN}"),
    "caller_ids_trunk_name_is_plain": ("trunk_name", f"the trunk name {NOT_PLAIN}"),
    "caller_id_groups_name_is_plain": ("name", f"the group's name {NOT_PLAIN}"),
    "cooldown_clears_reason_is_plain": ("reason", f"the reason {NOT_PLAIN}"),
    "users_display_name_is_plain": ("display_name", f"the display name {NOT_PLAIN}"),
    "customers_name_is_plain": ("name", f"the customer's name {NOT_PLAIN}"),
    "api_tokens_name_is_plain": ("name", f"the token's name {NOT_PLAIN}"),
}


@contextmanager
def translate_refusals() -> Iterator[None]:
    """Raises RefusedError for a statement that breaks a constraint."""
    try:
        yield
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
        raise refusal(error) from error


def refusal(error: asyncpg.PostgresError) -> RefusedError:
    """The refusal for a broken constraint. One that is not listed here is an InvalidError with PostgreSQL's message."""
    name = error.constraint_name or ""
    if name in _NOT_FOUND:
        return NotFoundError(*_NOT_FOUND[name])
    if name in _CONFLICT:
        return ConflictError(Violation(*_CONFLICT[name]))
    field, detail = _INVALID.get(name, (_column(error), error.message or str(error)))
    return InvalidError(Violation(field, detail))


def _column(error: asyncpg.PostgresError) -> str:
    """The column that an error is about. PostgreSQL names a column's CHECK `<table>_<column>_check`."""
    name = (error.constraint_name or "").removeprefix(f"{error.table_name}_")
    return error.column_name or (name.removesuffix("_check") if name.endswith("_check") else "")
