"""What the service is told by its environment."""

from msgspec import Struct

from rotary.http.cors import Origins
from rotary.runtime.settings import Bind, CaFile, Count, Networks, PostgresUrl, RabbitUrl, RedisUrl, Seconds


class CampaignsSettings(Struct, frozen=True):
    """One field a variable: `redis_url` is read from `ROTARY_REDIS_URL`."""

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    rabbitmq_url: RabbitUrl
    ca_file: CaFile = ""
    """The certificate authority of the servers whose URLs are TLS, and of webhooks; by default the system's."""
    campaigns_bind: Bind = "0.0.0.0:8082"  # a service in a container is meant to be reached
    ops_bind: Bind = "0.0.0.0:9080"  # likewise, by the operator's network alone
    clock_offset: Seconds = 0.0
    """Seconds by which this process' clock is shifted, for rehearsals of midnight."""
    postgres_connections: Count = 8
    """Connections that requests share."""
    cors_origins: Origins = ""
    access_log: bool = False
    failed_attempts_per_minute: Count = 60
    """How many unknown tokens without a checksum one address may try; further ones are answered with 429."""
    trusted_proxies: Networks = ""
    """Whose X-Forwarded-For names the client."""
    max_connections_per_address: Count = 512
    """For each IPv4 address or IPv6 /64, trusted proxies excepted."""
    webhook_networks: Networks = ""
    """Private networks that webhooks may be sent to; by default none."""
