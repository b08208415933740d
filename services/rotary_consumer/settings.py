"""The consumer's settings."""

from msgspec import Struct

from rotary.runtime.settings import Bind, CaFile, Count, PostgresUrl, RabbitUrl, RedisUrl, Seconds


class Settings(Struct, frozen=True, kw_only=True):
    """Each field is the environment variable ROTARY_<FIELD>.

    `prefetch` bounds the messages held of each log, hence memory: at most a MiB for each. `clock_offset` shifts the
    clock by seconds, for rehearsals.
    """

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    rabbitmq_url: RabbitUrl
    ca_file: CaFile = ""
    ops_bind: Bind = "0.0.0.0:9080"  # inside a container; which port is published is the operator's
    prefetch: Count = 1000
    clock_offset: Seconds = 0.0
