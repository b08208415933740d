"""Campaigns. `rotary.domain.campaigns` has their rules, and the triggers of migration 0007 state them again."""

from datetime import datetime

import asyncpg
import msgspec
from msgspec import UNSET, Struct

from rotary.domain.campaigns import (
    RUNNING,
    CampaignStatus,
    DialerMode,
    GroupState,
    Refusal,
    TimeWindow,
    group_refusal,
    refusal,
)
from rotary.management.errors import ConflictError, InvalidError, RefusedError, Violation
from rotary.management.fields import CampaignFields, NewCampaign, check_time_window, given
from rotary.management.pages import Page, PageRequest, fetch_page, page
from rotary.management.rows import Target, change, insert, lock, missing
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

_GROUP = "caller_id_group_id"
_DETAILS: dict[Refusal, str] = {
    "no_group": "A caller ID group is required to activate a campaign.",
    "group_disabled": "The caller ID group is disabled.",
    "group_missing": "The caller ID group does not exist.",
}
_time_window = msgspec.json.Decoder(TimeWindow).decode


class Campaign(Struct, frozen=True):
    """A stored campaign."""

    id: int
    customer_id: int
    name: str
    description: str | None
    dialer_mode: DialerMode
    caller_id_group_id: int | None
    ring_timeout_sec: int
    preview_window_sec: int
    priority: int
    max_attempts: int
    pdpl_enforce: bool
    abandon_rate_limit_pct: float
    time_window: TimeWindow | None
    status: CampaignStatus
    created_at: datetime
    updated_at: datetime
    version: int


class CampaignFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which campaigns."""

    status: CampaignStatus | None = None


async def find_campaigns(
    connection: Connection, customer_id: int, wanted: CampaignFilter, request: PageRequest
) -> Page[Campaign]:
    """A page of a customer's campaigns, ascending by id."""
    rows, total = await fetch_page(connection, "find_campaigns", request, customer_id, None, wanted.status)
    return page([_campaign(row) for row in rows], total, request)


async def read_campaign(connection: Connection, campaign_id: int, owner: int | None = None) -> Campaign:
    """One campaign. Raises NotFoundError, also for one that is not `owner`'s."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("find_campaigns"), owner, campaign_id, None)
    if row is None:
        raise missing("campaigns", campaign_id)
    return _campaign(row)


async def create_campaign(connection: Connection, customer_id: int, fields: NewCampaign) -> Campaign:
    """Creates a draft. Raises NotFoundError, InvalidError, and ConflictError for a name that the customer has used."""
    check_time_window(fields.time_window)
    await _check_group(connection, customer_id, fields)
    values = {"customer_id": customer_id} | given(fields)
    return await read_campaign(connection, await insert(connection, "campaigns", values))


async def update_campaign(connection: Connection, target: Target, fields: CampaignFields) -> Campaign:
    """Changes the fields that are given. Raises as `create_campaign` does, and StaleError.

    A campaign that is active or paused keeps a group.
    """
    check_time_window(fields.time_window)
    row = await lock(connection, "campaigns", target)
    if fields.caller_id_group_id is None and row["status"] in RUNNING:
        raise InvalidError(Violation(_GROUP, "A campaign that is active or paused needs a caller ID group."))
    if fields.caller_id_group_id != row[_GROUP]:
        await _check_group(connection, row["customer_id"], fields)
    await change(connection, "campaigns", target.id, given(fields))
    return await read_campaign(connection, target.id)


async def set_campaign_status(connection: Connection, target: Target, status: CampaignStatus) -> Campaign:
    """Gives a campaign another status.

    Raises NotFoundError, StaleError, ConflictError for an impossible transition, and InvalidError for a group that is
    missing, gone, disabled or another customer's by now.
    """
    row = await lock(connection, "campaigns", target)
    group = await _group_state(connection, row["customer_id"], row[_GROUP])
    if reason := refusal(row["status"], status, group):
        raise _refused(reason, row["status"], status)
    await change(connection, "campaigns", target.id, {"status": status})
    return await read_campaign(connection, target.id)


async def _check_group(connection: Connection, customer_id: int, fields: CampaignFields) -> None:
    group_id = fields.caller_id_group_id
    if group_id is UNSET or group_id is None:
        return
    if reason := group_refusal(await _group_state(connection, customer_id, group_id)):
        raise InvalidError(Violation(_GROUP, _DETAILS[reason]))


async def _group_state(connection: Connection, customer_id: int, group_id: int | None) -> GroupState | None:
    """Of the group, which stays as it is until the transaction ends."""
    if group_id is None:
        return None
    with translate_errors(connection):
        status = await connection.fetchval(statement("lock_group_status"), group_id, customer_id)
    if status is None:
        return "missing"
    return "usable" if status == "active" else "disabled"


def _refused(reason: Refusal, current: CampaignStatus, wanted: CampaignStatus) -> RefusedError:
    if reason == "transition":
        return ConflictError(Violation("status", f"A campaign that is {current} can't become {wanted}."))
    return InvalidError(Violation(_GROUP, _DETAILS[reason]))


def _campaign(row: asyncpg.Record) -> Campaign:
    fields = dict(row.items())
    window = fields.pop("time_window")
    return Campaign(**fields, time_window=None if window is None else _time_window(window))
