"""What the query service is told by its environment."""

from msgspec import Struct

from rotary.http.cors import Origins
from rotary.runtime.settings import Bind, CaFile, Count, Networks, PostgresUrl, RedisUrl, Seconds


class QuerySettings(Struct, frozen=True):
    """One field a variable: `redis_url` is read from `ROTARY_REDIS_URL`."""

    redis_url: RedisUrl
    postgres_url: PostgresUrl = ""
    """Where history is. Without it, history answers 503 and everything else goes on."""
    ca_file: CaFile = ""
    """Who vouches for the certificate of Redis when its URL is rediss://; the system's authorities unless told."""
    query_bind: Bind = "0.0.0.0:8080"  # a service in a container is meant to be reached
    ops_bind: Bind = "0.0.0.0:9080"  # likewise, by the operator's network alone
    clock_offset: Seconds = 0.0
    """Seconds by which this process' clock is shifted: a rehearsal may stand just before midnight."""
    cache_megabytes: Count = 64
    """How much the cache of groups may hold, about."""
    cors_origins: Origins = ""
    access_log: bool = False
    failed_attempts_per_minute: Count = 60
    """How many unknown tokens without a checksum one address may try; further ones are answered with 429."""
    trusted_proxies: Networks = ""
    """Whose X-Forwarded-For names the client."""
    max_connections_per_address: Count = 512
    """For each IPv4 address or IPv6 /64, trusted proxies excepted."""
    max_streams: Count = 10_000
    max_streams_per_token: Count = 100
    max_streams_per_customer: Count = 500
