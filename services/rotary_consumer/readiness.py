"""What keeps a consumer from being ready, for /readyz."""

from rotary.errors import UnavailableError
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import CURRENT_MS, Positions
from rotary_consumer.broker_channels import BrokerChannels
from rotary_consumer.leases import Leases
from rotary_consumer.logs import Logs


class Readiness:
    """Checks at each request, so that an old state never looks ready."""

    def __init__(self, channels: BrokerChannels, leases: Leases, logs: Logs, pipeline: Pipeline) -> None:
        self._channels = channels
        self._leases = leases
        self._logs = logs
        self._pipeline = pipeline

    async def not_ready_reasons(self) -> list[str]:
        """One line a reason; empty when the facts are current and this consumer keeps them current."""
        lacking = []
        if not self._channels.is_connected:
            lacking.append("RabbitMQ: not connected")
        lacking += [
            f"RabbitMQ: not reading {log.name} yet"
            for (_, log), reader in self._leases.readers.items()
            if not reader.attached
        ]
        if not self._logs.is_connected:
            lacking.append("Postgres: not connected")
        return lacking + await self._facts()

    async def _facts(self) -> list[str]:
        positions = Positions(self._pipeline, self._logs.generation)
        try:
            now_ms, bucket_statuses = await positions.now_ms(), await positions.bucket_statuses()
        except UnavailableError as error:
            return [error.what]
        late = [one for one in bucket_statuses if one.refusal(now_ms) or one.age_ms(now_ms) > CURRENT_MS]
        if not late:
            return []
        reason = late[0].refusal(now_ms) or f"the facts are {late[0].age_ms(now_ms) // 1000} s old"
        return [f"Redis: {reason} ({len(late)} of {len(bucket_statuses)} buckets)"]
