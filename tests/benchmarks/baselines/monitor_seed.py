"""Gives the FastAPI baseline the very data that our monitor answers with."""

from hashlib import sha256

from redis.asyncio import Redis

from benchmarks.baselines.fastapi_monitor import Envelope, StoredGroup, StoredMember
from benchmarks.world import Customer


async def seed(redis_url: str, body: bytes, customer: Customer) -> None:
    """Writes a customer's token, one group and its members as the baseline keeps them."""
    monitor = Envelope.model_validate_json(body).data
    group = StoredGroup(
        customer_id=customer.id, name=monitor.group_name, members=[member.caller_id_id for member in monitor.members]
    )
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        await redis.set(f"token:{sha256(customer.token.encode()).hexdigest()}", customer.id)
        await redis.set(f"group:{monitor.group_id}", group.model_dump_json())
        for member in monitor.members:
            stored = StoredMember(disabled=member.status == "disabled", **member.model_dump())
            fields = stored.model_dump(mode="json", exclude_none=True)
            for name, value in fields.items():
                await redis.hset(f"member:{member.caller_id_id}", name, str(value))
