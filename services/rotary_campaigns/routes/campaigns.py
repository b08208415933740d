"""Campaigns."""

from msgspec import Struct

from rotary.definitions import SCOPE
from rotary.domain.campaigns import CampaignStatus
from rotary.management import campaigns as model
from rotary.management.fields import CampaignFields, NewCampaign
from rotary.management.pages import PageRequest
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import Campaign, shown

PATH = "/api/telesales/campaigns"
_TAG = "Campaigns"
_MISSING = "Campaign not found."


class CampaignQuery(PageRequest, frozen=True):
    """Which campaigns, and which part of the list."""

    status: CampaignStatus | None = None


class StatusChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The status that a campaign is to have."""

    status: CampaignStatus


async def list_campaigns(call: Call) -> Reply:
    """A page of the customer's campaigns."""
    page = await model.find_campaigns(
        call.connection, call.customer_id, model.CampaignFilter(call.query.status), call.query
    )
    return Reply(page.map(lambda row: shown(Campaign, row)))


async def create_campaign(call: Call) -> Reply:
    """A new draft."""
    return _reply(await model.create_campaign(call.connection, call.customer_id, call.body), is_new=True)


async def read_campaign(call: Call) -> Reply:
    """One campaign."""
    return _reply(await model.read_campaign(call.connection, call.row_id, call.customer_id))


async def update_campaign(call: Call) -> Reply:
    """Changes the given fields."""
    return _reply(await model.update_campaign(call.connection, call.target, call.body))


async def set_status(call: Call) -> Reply:
    """Changes the status."""
    return _reply(await model.set_campaign_status(call.connection, call.target, call.body.status))


def _reply(row: model.Campaign, *, is_new: bool = False) -> Reply:
    return Reply(shown(Campaign, row), row.version, f"{PATH}/{row.id}" if is_new else "")


RESOURCES = (
    Resource(
        "campaigns",
        PATH,
        _TAG,
        SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listCampaigns",
                summary="List your campaigns",
                description="Ascending by id.",
                handler=list_campaigns,
                query=CampaignQuery,
                answer=Campaign,
                is_page=True,
            ),
            Operation(
                method="POST",
                name="createCampaign",
                summary="Create a campaign",
                description="It begins as a draft. A group may follow later; it must be one of yours, and active.",
                handler=create_campaign,
                body=NewCampaign,
                answer=Campaign,
                status=201,
                is_idempotent=True,
                failures=("Conflict",),
            ),
        ),
    ),
    Resource(
        "campaign",
        PATH + "/{campaign_id}",
        _TAG,
        SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="getCampaign",
                summary="Read a campaign",
                handler=read_campaign,
                answer=Campaign,
            ),
            Operation(
                method="PUT",
                name="updateCampaign",
                summary="Change a campaign",
                description="Fields that are absent keep their value. An active or paused campaign keeps a group.",
                handler=update_campaign,
                body=CampaignFields,
                answer=Campaign,
                precondition="optional",
                failures=("Conflict",),
            ),
        ),
    ),
    Resource(
        "campaign_status",
        PATH + "/{campaign_id}/status",
        _TAG,
        SCOPE,
        _MISSING,
        (
            Operation(
                method="PUT",
                name="setCampaignStatus",
                summary="Activate, pause or archive a campaign",
                description=(
                    "draft → active or archived, active → paused or archived, paused → active. To become active a "
                    "campaign needs a caller ID group that is yours and active: else 422. Any other transition: 409."
                ),
                handler=set_status,
                body=StatusChange,
                answer=Campaign,
                precondition="optional",
                failures=("Conflict",),
            ),
        ),
    ),
)
