"""A part of the command's servers for a worker of pytest-xdist, which is used as if the servers were its own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from integration.private_database import private_database
from integration.private_stack import private_stack
from integration.private_vhost import lasting_vhost


@contextmanager
def own_servers() -> Iterator[Mapping[str, str]]:
    """The variables of a Redis, a migrated database and a virtual host.

    Redis alone is a server of its own: it starts at once, and tests empty databases that they know by number.
    """
    with private_stack("--only", "redis") as stack, private_database(os.environ["ROTARY_POSTGRES_URL"]) as database:
        yield {
            "ROTARY_REDIS_URL": stack["ROTARY_REDIS_URL"],
            "ROTARY_POSTGRES_URL": database,
            "ROTARY_RABBITMQ_URL": lasting_vhost(os.environ["ROTARY_RABBITMQ_URL"]),
        }
