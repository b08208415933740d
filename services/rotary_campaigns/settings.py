"""What the service is told by its environment."""

from typing import Annotated

from msgspec import Meta, Struct

from rotary.http.client_address import Proxies
from rotary.runtime.settings import Bind, CaFile, Count, PostgresUrl, RabbitUrl, RedisUrl, Seconds

Networks = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Fa-f.:/,\s]*$",
        description="addresses or networks such as 10.0.0.0/8, separated by commas",
    ),
]
Origins = Annotated[
    str,
    Meta(
        pattern=r"^\s*(https?://[^\s,/]+/?\s*(,\s*|$))*$",
        description="origins such as https://board.example, separated by commas",
    ),
]


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
    trusted_proxies: Proxies = ""
    """Whose X-Forwarded-For names the client."""
    max_connections_per_address: Count = 512
    """For each IPv4 address or IPv6 /64, trusted proxies excepted."""
    webhook_networks: Networks = ""
    """Private networks that webhooks may be sent to; by default none."""

    def origins(self) -> frozenset[str]:
        """The origins whose pages may use the API; none unless configured."""
        return frozenset(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())
