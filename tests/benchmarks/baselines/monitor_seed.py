"""Gives the FastAPI baseline the very data that our monitor answers with, and sees that it answers the same."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from redis.asyncio import Redis

from benchmarks.baselines.fastapi_monitor import GroupMonitor, StoredGroup
from benchmarks.world import Customer


async def seed(redis_url: str, body: bytes, customer: Customer) -> None:
    """Writes a customer's token, one group and its members as the baseline keeps them."""
    answered: Any = msgspec.json.decode(body)["data"]  # checked by pydantic in the next line
    monitor = GroupMonitor.model_validate(answered)
    group = StoredGroup(
        customer_id=customer.id, name=monitor.group_name, members=[member.caller_id_id for member in monitor.members]
    )
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        await redis.set(f"token:{sha256(customer.token.encode()).hexdigest()}", customer.id)
        await redis.set(f"group:{monitor.group_id}", group.model_dump_json())
        for member in answered["members"]:
            await redis.hset(f"member:{member['caller_id_id']}", mapping=_stored(member))


def _stored(member: Mapping[str, Any]) -> dict[str | bytes, str | int]:
    kept = {
        name: member[name]
        for name in ("number", "carrier", "health_score", "calls_today", "daily_cap", "cooldown_until")
        if member[name] is not None
    }
    return {**kept, "disabled": int(member["status"] == "disabled")}
