"""The consumer's settings."""

from msgspec import Struct

from rotary.runtime.settings import Bind, CaFile, Count, PostgresUrl, RabbitUrl, RedisUrl, Seconds


class Settings(Struct, frozen=True, kw_only=True):
    """Each field is read from the environment variable ROTARY_<FIELD>.

    `prefetch` limits the messages held of each log, hence memory: each is at most 1 MiB. `clock_offset` shifts the
    clock by this many seconds, for rehearsals.
    """

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    rabbitmq_url: RabbitUrl
    ca_file: CaFile = ""
    ops_bind: Bind = "0.0.0.0:9080"  # in a container; the operator decides which port to publish
    prefetch: Count = 1000
    clock_offset: Seconds = 0.0
