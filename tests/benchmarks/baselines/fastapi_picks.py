"""What a competent engineer writes in a day for picks: FastAPI, redis-py pipelines, pydantic, check then increment.

It does less than Rotary. Between the check and the increment others pick, so caps are passed; a reservation that
expires gives nothing back; there is one strategy, and nothing knows time zones, flags that fade, or a loss of data.
Three round trips a request (token and group; members, counts and the lead's number; increment and reserve), one
worker, uvloop, no access log.
"""

import argparse
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from redis.asyncio import Redis

PICK_SECONDS = 30


class Wish(BaseModel):
    """What a dialer asks for."""

    lead_id: str | None = Field(None, max_length=200)
    carrier: str | None = None
    exclude: list[int] = []


class Pick(BaseModel):
    """A caller ID for one call."""

    id: str
    group_id: int
    caller_id_id: int
    number: str
    display_name: str | None
    carrier: str
    trunk_name: str | None
    reason: str
    expires_at: datetime


class Envelope(BaseModel):
    """Every success."""

    data: Pick


class StoredGroup(BaseModel):
    """A group as this engineer keeps it, JSON under `group:<id>`."""

    customer_id: int
    is_sticky: bool
    members: list[int]


class StoredMember(BaseModel):
    """A member as this engineer keeps it, a hash under `member:<id>`."""

    number: str
    display_name: str | None = None
    carrier: str
    trunk_name: str | None = None
    disabled: bool
    daily_cap: int
    cooldown_until: datetime | None = None

    def can_be_picked(self, used: int, now: datetime) -> bool:
        """May it dial?"""
        rests = self.cooldown_until is not None and now < self.cooldown_until
        return not (self.disabled or rests or used >= self.daily_cap)


def chosen(wish: Wish, members: dict[int, StoredMember], used: dict[int, int], kept: int | None) -> int | None:
    """The lead's own number, or the one used least, of the wished carrier if there is one."""
    now = datetime.now(UTC)
    free = [one for one, member in members.items() if one not in wish.exclude and member.can_be_picked(used[one], now)]
    if kept in free:
        return kept
    wished = [one for one in free if members[one].carrier == wish.carrier] or free
    return min(wished, key=used.__getitem__, default=None)


def application(redis_url: str) -> FastAPI:
    """The whole service."""
    app = FastAPI()
    redis = Redis.from_url(redis_url, decode_responses=True)

    async def bearer(authorization: Annotated[str, Header()] = "") -> str:
        return hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()

    async def group_of(token: str, group_id: int) -> StoredGroup:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.get(f"token:{token}")
            pipeline.get(f"group:{group_id}")
            customer, document = await pipeline.execute()
        if customer is None:
            raise HTTPException(401, "Unauthenticated.")
        group = StoredGroup.model_validate_json(document) if document else None
        if group is None or group.customer_id != int(customer):
            raise HTTPException(404, "Pool not found.")
        return group

    @app.post("/api/caller-id-groups/{group_id}/picks", status_code=201)
    async def pick(group_id: int, wish: Wish, token: Annotated[str, Depends(bearer)]) -> Envelope:
        group = await group_of(token, group_id)
        day = datetime.now(UTC).date().isoformat()
        lead = f"lead:{group_id}:{wish.lead_id}" if group.is_sticky and wish.lead_id else ""
        async with redis.pipeline(transaction=False) as pipeline:
            for one in group.members:
                pipeline.hgetall(f"member:{one}")
            pipeline.mget([f"used:{one}:{day}" for one in group.members])
            pipeline.get(lead)
            *stored, counts, kept = await pipeline.execute()
        members = {one: StoredMember.model_validate(fields) for one, fields in zip(group.members, stored, strict=True)}
        used = {one: int(count or 0) for one, count in zip(group.members, counts, strict=True)}
        caller = chosen(wish, members, used, int(kept) if kept else None)
        if caller is None:
            raise HTTPException(409, "No caller ID is eligible.")
        pick_id = str(uuid4())
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.incr(f"used:{caller}:{day}")
            pipeline.expire(f"used:{caller}:{day}", 172_800)
            pipeline.set(f"pick:{pick_id}", caller, ex=PICK_SECONDS)
            if lead:
                pipeline.set(lead, caller, ex=90 * 86_400)
            await pipeline.execute()
        member = members[caller]
        return Envelope(
            data=Pick(
                id=pick_id,
                group_id=group_id,
                caller_id_id=caller,
                number=member.number,
                display_name=member.display_name,
                carrier=member.carrier,
                trunk_name=member.trunk_name,
                reason="sticky" if str(caller) == kept else "least_used",
                expires_at=datetime.now(UTC) + timedelta(seconds=PICK_SECONDS),
            )
        )

    return app


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", required=True)
    given = parser.parse_args()
    uvicorn.run(application(given.redis), port=given.port, loop="uvloop", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
