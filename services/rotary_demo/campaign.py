"""What an integrator does first: a campaign is created, refused without a group, given one, and activated."""

from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from rotary_demo.api_client import ApiError
from rotary_demo.seed import Customer

PATH = "/api/telesales/campaigns"
NAME = "Demo"


async def run_campaign(
    session: aiohttp.ClientSession, url: str, customer: Customer, group_id: int, report: Callable[[str], None]
) -> None:
    """Activates a campaign of this group, and reports each step. Raises ApiError."""
    campaigns = _Campaigns(session, url, customer.token)
    created = await campaigns.ask(201, "POST", "", {"name": NAME, "dialer_mode": "predictive"})
    path = f"/{created['data']['id']}"
    refused = await campaigns.ask(422, "PUT", f"{path}/status", {"status": "active"})
    [[reason]] = refused["errors"].values()
    report(f"created the campaign {NAME}; activating it was refused with 422: {reason}")
    await campaigns.ask(200, "PUT", path, {"caller_id_group_id": group_id})
    await campaigns.ask(200, "PUT", f"{path}/status", {"status": "active"})
    report(f"gave the campaign {NAME} group {group_id}; it is active")


class _Campaigns:
    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url + PATH
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, status: int, method: str, path: str, body: object) -> Any:
        """The answer, which must have this status. Any: JSON."""
        data = msgspec.json.encode(body)
        try:
            async with self._session.request(method, self._url + path, data=data, headers=self._headers) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "the campaigns service does not answer") from error
        if answer.status != status:
            raise ApiError(answer.status, text.decode(errors="replace"))
        return msgspec.json.decode(text)
