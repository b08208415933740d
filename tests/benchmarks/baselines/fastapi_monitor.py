"""What a competent engineer writes in a day: FastAPI, a redis pipeline, pydantic; statuses kept in Redis by others.

It does less than Rotary: nothing here knows time zones, health or a replay, and a member's state is read as stored.
Two round trips a request (the token and the group, then all members), one worker, uvloop, no access log.
"""

import argparse
import hashlib
from datetime import UTC, datetime
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from redis.asyncio import Redis


class Member(BaseModel):
    """One line of the monitor."""

    caller_id_id: int
    number: str
    carrier: str
    status: Literal["eligible", "cooldown", "disabled", "quota_exceeded"]
    health_score: int
    calls_today: int
    daily_cap: int
    cooldown_until: datetime | None


class GroupMonitor(BaseModel):
    """The monitor."""

    group_id: int
    group_name: str
    total_members: int
    eligible_now: int
    in_cooldown: int
    disabled: int
    members: list[Member]


class Envelope(BaseModel):
    """Every success."""

    data: GroupMonitor


class StoredGroup(BaseModel):
    """A group as this engineer keeps it, JSON under `group:<id>`."""

    customer_id: int
    name: str
    members: list[int]


class StoredMember(BaseModel):
    """A member as this engineer keeps it, a hash under `member:<id>`."""

    number: str
    carrier: str
    disabled: bool
    health_score: int
    calls_today: int
    daily_cap: int
    cooldown_until: datetime | None = None

    def status(self, now: datetime) -> Literal["eligible", "cooldown", "disabled", "quota_exceeded"]:
        """May it dial?"""
        if self.disabled:
            return "disabled"
        if self.cooldown_until is not None and now < self.cooldown_until:
            return "cooldown"
        return "quota_exceeded" if self.calls_today >= self.daily_cap else "eligible"


def monitor_of(group_id: int, group: StoredGroup, members: list[dict[str, str]], now: datetime) -> GroupMonitor:
    """The monitor from what Redis holds."""
    lines = []
    for member_id, stored in zip(group.members, members, strict=True):
        member = StoredMember.model_validate(stored)
        status = member.status(now)
        lines.append(
            Member(
                caller_id_id=member_id,
                number=member.number,
                carrier=member.carrier,
                status=status,
                health_score=member.health_score,
                calls_today=member.calls_today,
                daily_cap=member.daily_cap,
                cooldown_until=member.cooldown_until if status == "cooldown" else None,
            )
        )
    statuses = [line.status for line in lines]
    return GroupMonitor(
        group_id=group_id,
        group_name=group.name,
        total_members=len(lines),
        eligible_now=statuses.count("eligible"),
        in_cooldown=statuses.count("cooldown"),
        disabled=statuses.count("disabled"),
        members=lines,
    )


def application(redis_url: str) -> FastAPI:
    """The whole service."""
    app = FastAPI()
    redis = Redis.from_url(redis_url, decode_responses=True)

    async def bearer(authorization: Annotated[str, Header()] = "") -> str:
        return hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()

    @app.get("/api/caller-id-groups/{group_id}/monitor")
    async def monitor(group_id: int, token: Annotated[str, Depends(bearer)]) -> Envelope:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.get(f"token:{token}")
            pipeline.get(f"group:{group_id}")
            customer, document = await pipeline.execute()
        if customer is None:
            raise HTTPException(401, "Unauthenticated.")
        group = StoredGroup.model_validate_json(document) if document else None
        if group is None or group.customer_id != int(customer):
            raise HTTPException(404, "Pool not found.")
        async with redis.pipeline(transaction=False) as pipeline:
            for member_id in group.members:
                pipeline.hgetall(f"member:{member_id}")
            members = await pipeline.execute()
        return Envelope(data=monitor_of(group_id, group, members, datetime.now(UTC)))

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
