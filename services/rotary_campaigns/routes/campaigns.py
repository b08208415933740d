"""Campaigns."""

from msgspec import Struct

from rotary.definitions import SCOPE
from rotary.domain.campaigns import CampaignStatus
from rotary.management import campaigns as model
from rotary.management.fields import CampaignFields, NewCampaign
from rotary.management.pages import PageRequest
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Operation, Reply, Section
from rotary_campaigns.http.rows import creates, page_reply, reads, row_reply, updates
from rotary_campaigns.http.schemas import Campaign

_SECTION = Section("/api/telesales/campaigns", "Campaigns", SCOPE, "Campaign not found.")


class CampaignQuery(PageRequest, frozen=True):
    """Which campaigns, and which part of the list."""

    status: CampaignStatus | None = None


class StatusChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The status that a campaign is to have."""

    status: CampaignStatus


async def list_campaigns(call: Call) -> Reply:
    """A page of the customer's campaigns."""
    wanted = model.CampaignFilter(call.query.status)
    return page_reply(Campaign, await model.find_campaigns(call.connection, call.customer_id, wanted, call.query))


async def set_status(call: Call) -> Reply:
    """Changes the status."""
    return row_reply(Campaign, await model.set_campaign_status(call.connection, call.target, call.body.status))


RESOURCES = (
    _SECTION.resource(
        "campaigns",
        "",
        operations.page(
            name="listCampaigns",
            summary="List your campaigns",
            description="Ascending by id.",
            handler=list_campaigns,
            query=CampaignQuery,
            answer=Campaign,
        ),
        operations.create(
            name="createCampaign",
            summary="Create a campaign",
            description="It begins as a draft. A group may follow later; it must be one of yours, and active.",
            handler=creates(_SECTION, Campaign, model.create_campaign),
            body=NewCampaign,
            answer=Campaign,
            failures=("Conflict",),
        ),
    ),
    _SECTION.resource(
        "campaign",
        "/{campaign_id}",
        operations.read(
            name="getCampaign",
            summary="Read a campaign",
            handler=reads(Campaign, model.read_campaign),
            answer=Campaign,
        ),
        Operation(
            method="PUT",
            name="updateCampaign",
            summary="Change a campaign",
            description="Fields that are absent keep their value. An active or paused campaign keeps a group.",
            handler=updates(Campaign, model.update_campaign),
            body=CampaignFields,
            answer=Campaign,
            precondition="optional",  # the integrators' contract has no If-Match
            failures=("Conflict",),
        ),
    ),
    _SECTION.resource(
        "campaign_status",
        "/{campaign_id}/status",
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
)
