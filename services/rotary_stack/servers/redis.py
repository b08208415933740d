"""A private Redis, durable as a production one: append-only file, written every second, nothing ever evicted.

It has two users and no default one. `owner` may do everything: the URL for a command inside the stack. `rotary` may do
what Rotary's programs do and nothing else: the URL for the services.
"""

import asyncio
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM, Signals

from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError
from rotary_stack.private import new_password, write_private
from rotary_stack.spawn import Launch, server_environ

_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "4096",
    "enable-debug-command": "local",  # tests slow it down and reload it
}

OWNER = "owner"
PROGRAM = "rotary"
PROGRAM_RULES = (
    # A connection's own affairs: AUTH, HELLO, PING, SELECT, CLIENT SETINFO. Not CLIENT KILL and the like.
    "+@connection -@dangerous"
    # What the programs send. INFO says which server process this is, and whether it may evict.
    " +del +discard +exec +exists +fcall +fcall_ro +function|load +get +hget +hgetall +hmget +hsetnx +info +mget +multi"
    " +publish +scan +set +subscribe +unlink +unsubscribe"
    # What their functions call besides: Redis checks it against the caller's rules too.
    " +bitfield +expire +expireat +hdel +hset +persist +rename +sadd +scard +sismember +smembers +smismember +srem"
    " +time"
)
"""What `rotary` may do, as Redis writes it. infra/server/redis-users.acl says the same; a test compares them."""

DEFAULT_USER = "user default off resetpass ~* &* +@all"
"""Nobody can be the default user, and yet it may do everything: Redis loads its append-only file in that user's name.

Without permissions the transactions in the file, and so everything that a function wrote, would silently be missing
after a restart (7.0.15; redis/redis#14541, corrected by #14545).
"""


class Redis:
    name = "redis"
    stop_signal: Signals = SIGTERM

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.data = directory / "redis"
        self._users = directory / "redis-users.acl"  # beside the data: it outlives `--empty`
        self._passwords = {user: new_password() for user in (OWNER, PROGRAM)}
        self._binary = binaries.redis_server

    @property
    def url(self) -> str:
        """For a command inside the stack: everything is permitted."""
        return self._url(OWNER)

    @property
    def program_url(self) -> str:
        """For Rotary's programs."""
        return self._url(PROGRAM)

    async def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if not self._users.exists():
            write_private(self._users, self._acl())

    def launch(self) -> Launch:
        settings = {**_SETTINGS, "port": str(self.port), "dir": str(self.data), "aclfile": str(self._users)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Launch(argv=(self._binary, *options), environ=server_environ(), directory=self.data)

    async def ready(self) -> None:
        """PING is answered with PONG: not while it still loads its data."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"AUTH {OWNER} {self._passwords[OWNER]}\r\nPING\r\n".encode())
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
            f"user {OWNER} reset on #{self._hash(OWNER)} ~* &* +@all\n"
            f"user {PROGRAM} reset on #{self._hash(PROGRAM)} ~* &* {PROGRAM_RULES}\n"
        )

    def _hash(self, user: str) -> str:
        return sha256(self._passwords[user].encode()).hexdigest()
