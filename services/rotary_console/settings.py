"""What the service is told by its environment."""

from typing import Annotated

from msgspec import Meta, Struct
from yarl import URL

from rotary.auth.addresses import parse_address
from rotary.runtime.settings import Bind, CaFile, Count, Networks, PostgresUrl, RabbitUrl, RedisUrl, Seconds

HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+.*$", description="http://host:port or https://host")]
OptionalUrl = Annotated[str, Meta(pattern=r"^(https?://\S+)?$", description="http://host:port or https://host")]


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine alone."""
    host = URL(url).host or ""
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class ConsoleSettings(Struct, frozen=True):
    """One field a variable: `redis_url` is read from `ROTARY_REDIS_URL`."""

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    console_url: HttpUrl
    """Where browsers reach the console: its origin alone may change anything. Cookies are Secure if it is https."""
    api_url: HttpUrl
    """Where browsers reach the query service."""
    campaigns_url: HttpUrl
    """Where this service reaches rotary-campaigns."""
    campaigns_docs_url: OptionalUrl = ""
    """Where browsers reach rotary-campaigns' documentation, if they do."""
    management_url: OptionalUrl = ""
    """The broker's management API, for dialers' users; without it the console can't manage them."""
    rabbitmq_url: RabbitUrl = "amqp:///"
    """Only for the name of the virtual host."""
    ca_file: CaFile = ""
    """The certificate authority of the servers whose URLs are TLS; by default the system's."""
    console_bind: Bind = "0.0.0.0:8083"  # a service in a container is meant to be reached
    ops_bind: Bind = "0.0.0.0:9080"  # likewise, by the operator's network alone
    clock_offset: Seconds = 0.0
    """Seconds by which this process' clock is shifted, for rehearsals of midnight."""
    postgres_connections: Count = 8
    """Connections that requests share."""
    access_log: bool = False
    trusted_proxies: Networks = ""
    """Whose X-Forwarded-For names the client."""
    max_connections_per_address: Count = 512
    """For each IPv4 address or IPv6 /64, trusted proxies excepted."""
    session_idle_minutes: Count = 60
    """A session that nobody uses for so long ends."""
    session_hours: Count = 12
    """After so long a session ends, however much it is used."""
    oidc_issuer: OptionalUrl = ""
    """A sign-in provider (OpenID Connect); none by default."""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    oidc_name: str = "Single sign-on"
    """What the button says."""

    @property
    def origin(self) -> str:
        """The console's own origin."""
        return str(URL(self.console_url).origin())

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the console over TLS."""
        return URL(self.console_url).scheme == "https"
