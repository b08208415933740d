"""What the engine is told by its environment."""

from msgspec import Struct

from rotary.runtime.settings import Bind, CaFile, Count, Networks, RedisUrl, Seconds


class EngineSettings(Struct, frozen=True):
    """One field a variable: `redis_url` is read from `ROTARY_REDIS_URL`."""

    redis_url: RedisUrl
    ca_file: CaFile = ""
    """The certificate authority of Redis when its URL is rediss://; by default the system's."""
    engine_bind: Bind = "0.0.0.0:8081"  # a service in a container is meant to be reached
    ops_bind: Bind = "0.0.0.0:9080"  # likewise, by the operator's network alone
    clock_offset: Seconds = 0.0
    """Seconds by which the clocks of this process and of its picks are shifted, for rehearsals of midnight."""
    access_log: bool = False
    failed_attempts_per_minute: Count = 60
    """How many unknown tokens without a checksum one address may try; further ones are answered with 429."""
    trusted_proxies: Networks = ""
    """Whose X-Forwarded-For names the client."""
    max_connections_per_address: Count = 512
    """For each IPv4 address or IPv6 /64, trusted proxies excepted."""
