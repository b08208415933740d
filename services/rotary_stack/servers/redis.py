"""A private Redis with the durability of production: an append-only file synced every second, and no eviction.

It has two users and no default user. `owner` may run every command; its URL is for a command inside the stack. `rotary`
may run only what Rotary's services need; its URL is for the services.
"""

import asyncio
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM, Signals

from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError
from rotary_stack.spawn import LaunchConfig, server_environ
from rotary_stack.workspace import new_password, write_private

_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "4096",
    "enable-debug-command": "local",  # for tests that slow it down or reload it
}

OWNER_USER = "owner"
SERVICE_USER = "rotary"
SERVICE_RULES = (
    # Commands about the own connection: AUTH, HELLO, PING, SELECT, CLIENT SETINFO. Not CLIENT KILL.
    "+@connection -@dangerous"
    # Commands of the services. INFO tells them the server's run id and whether it may evict.
    " +del +discard +exec +exists +fcall +fcall_ro +function|load +get +hget +hgetall +hmget +hsetnx +info +mget +multi"
    " +publish +scan +set +subscribe +unlink +unsubscribe +zmscore"
    # Commands inside their functions: Redis checks these against the caller's rules too.
    " +bitfield +expire +expireat +getrange +hdel +hincrby +hlen +hset +persist +rename +sadd +scard +sismember"
    " +smembers +smismember +spop +srem +time +zadd +zcard +zrange +zrangebyscore +zrem +zremrangebyscore +zrevrange"
)
"""The ACL rules of `rotary`. infra/server/redis-users.acl has the same; a test compares them."""

DEFAULT_USER = "user default off resetpass ~* &* +@all"
"""Nobody can log in as the default user, but it has all permissions: Redis loads its append-only file as that user.

Without permissions the transactions in the file, and with them everything that a function wrote, are silently missing
after a restart (7.0.15; redis/redis#14541, fixed by #14545).
"""


class Redis:
    name = "redis"
    stop_signal: Signals = SIGTERM

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.data = directory / "redis"
        self._users = directory / "redis-users.acl"  # not in the data directory, which `--empty` deletes
        self._passwords = {user: new_password() for user in (OWNER_USER, SERVICE_USER)}
        self._binary = binaries.redis_server

    @property
    def url(self) -> str:
        """For a command inside the stack: all permissions."""
        return self._url(OWNER_USER)

    @property
    def service_url(self) -> str:
        """For Rotary's services."""
        return self._url(SERVICE_USER)

    async def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if not self._users.exists():
            write_private(self._users, self._acl())

    def launch_config(self) -> LaunchConfig:
        settings = {**_SETTINGS, "port": str(self.port), "dir": str(self.data), "aclfile": str(self._users)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return LaunchConfig(argv=(self._binary, *options), environ=server_environ(), directory=self.data)

    async def check_ready(self) -> None:
        """Logs in and pings. Redis answers PING with an error while it loads its data."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"AUTH {OWNER_USER} {self._passwords[OWNER_USER]}\r\nPING\r\n".encode())
            answers = [(await reader.readline()).decode(errors="replace").strip() for _ in range(2)]
        finally:
            writer.close()
        if answers != ["+OK", "+PONG"]:
            raise NotReadyError(", ".join(answers))

    def _url(self, user: str) -> str:
        return f"redis://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/0"

    def _acl(self) -> str:
        return (
            f"{DEFAULT_USER}\n"
            f"user {OWNER_USER} reset on #{self._hash(OWNER_USER)} ~* &* +@all\n"
            f"user {SERVICE_USER} reset on #{self._hash(SERVICE_USER)} ~* &* {SERVICE_RULES}\n"
        )

    def _hash(self, user: str) -> str:
        return sha256(self._passwords[user].encode()).hexdigest()
