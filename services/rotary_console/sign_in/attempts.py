"""Signing in with a name and a password: one answer, in the same time, for everything that is wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import asyncpg
from msgspec import Struct, structs

from rotary.errors import UnavailableError
from rotary.http.errors import Refusal
from rotary.http.responses import CachedResponse, failure
from rotary.management.passwords import is_outdated
from rotary.postgres.connection import Connection
from rotary_console.database import Database, statement
from rotary_console.sign_in import throttle
from rotary_console.sign_in.cookies import DEVICE_DAYS, hashed, new_value
from rotary_console.sign_in.hashing import Hashing
from rotary_console.sign_in.sessions import Sessions
from rotary_console.sign_in.throttle import Attempts, judge
from rotary_console.sign_in.totp import matching_step

MAX_DEVICES = 20
"""Browsers of one user that are known."""


class Credentials(Struct, frozen=True):
    """What somebody claims, and from where. `device` is the value of the cookie that tells a known browser."""

    name: str
    password: str
    code: str
    device: str
    network: str


class SignedIn(Struct, frozen=True):
    """A new session, and the values of its cookies."""

    session: str
    device: str


class Refused(Struct, frozen=True):
    """Why somebody is not signed in, as far as they may know."""

    is_code_missing: bool = False


class Attempt(Struct, frozen=True):
    """An attempt on record. It counts as a failure until it is forgiven."""

    id: int
    account: bytes
    network: str
    device_id: int | None
    delay: float
    user_id: int | None = None
    """Of an attempt by somebody who is signed in."""

    @property
    def is_known(self) -> bool:
        """Whether it comes from a browser that the user has signed in from before."""
        return self.device_id is not None or self.user_id is not None

    @property
    def client(self) -> str:
        """Whose attempt it is, for whoever lets a few of each wait."""
        if self.user_id is not None:
            return f"user {self.user_id}"
        return self.network if self.device_id is None else f"device {self.device_id}"


class SignIn:
    """Verifies names, passwords and codes. Raises Refusal with 429 or 503, and UnavailableError."""

    def __init__(self, database: Database, sessions: Sessions, hashing: Hashing) -> None:
        self._database = database
        self._sessions = sessions
        self._hashing = hashing
        self.failed = 0
        self.succeeded = 0
        self.throttled = 0

    async def sign_in(self, claimed: Credentials, now_ms: int) -> SignedIn | Refused:
        """A new session, if everything is right."""
        attempt = await self.begin_attempt(claimed)
        await asyncio.sleep(attempt.delay)
        async with self._database.reading() as connection:
            user = await connection.fetchrow(statement("account"), claimed.name.lower())
        is_right = await self._verify(user, claimed, attempt)
        if user is None or not is_right:
            self.failed += 1
            return Refused()
        if user["totp_secret"] is not None:
            if not claimed.code:
                return Refused(is_code_missing=True)
            if not await self._use_code(user, claimed.code, now_ms):
                await self._mark_wrong_code(attempt)
                self.failed += 1
                return Refused()
        return await self._succeed(user, claimed, attempt)

    async def verify_again(self, user_id: int, claimed: Credentials) -> str | None:
        """The stored hash, if this is the password of somebody who is signed in. Failures count as at sign-in."""
        attempt = structs.replace(await self.begin_attempt(claimed), user_id=user_id)
        async with self._database.reading() as connection:
            stored: str | None = await connection.fetchval(statement("password_hash"), user_id)
        if not await self._verify_hash(stored, claimed.password, attempt):
            return None
        async with self._database.reading() as connection:
            await connection.execute(statement("drop_attempt"), attempt.id)
        return stored

    async def begin_attempt(self, claimed: Credentials) -> Attempt:
        """Puts an attempt on record, before it is known how it ends: attempts at the same time all count.

        Raises Refusal with 429.
        """
        account = sha256(claimed.name.lower().encode("utf-8", "surrogateescape")).digest()
        async with self._transaction() as connection:
            device_id = await self._known_device(connection, claimed)
            lock = claimed.network if device_id is None else f"device {device_id}"
            await connection.execute(statement("lock_attempts"), lock)
            arguments = (account, claimed.network, device_id)
            row = await connection.fetchrow(statement("count_attempts"), *arguments, float(throttle.WINDOW_SECONDS))
            assert row is not None
            verdict = judge(Attempts(*row), "unknown" if device_id is None else "known")
            if not verdict.retry_after:
                attempt_id = await connection.fetchval(statement("add_attempt"), *arguments)
                return Attempt(attempt_id, account, claimed.network, device_id, verdict.delay)
        self.throttled += 1
        raise Refusal(_too_many(verdict.retry_after))

    async def admit(
        self, connection: Connection, user_id: int, device: str = "", verified_hash: str | None = None
    ) -> SignedIn | None:
        """A new session of a user who has been identified, and a known browser.

        None if the user has been disabled meanwhile, or has another password than the one that was verified.
        """
        value = await self._sessions.begin(connection, user_id, verified_hash)
        if value is None:
            return None
        self.succeeded += 1
        return SignedIn(value, await self._remember_device(connection, user_id, device))

    async def _succeed(self, user: asyncpg.Record, claimed: Credentials, attempt: Attempt) -> SignedIn | Refused:
        async with self._transaction() as connection:
            device = claimed.device if attempt.device_id is not None else ""
            signed_in = await self.admit(connection, user["id"], device, user["password_hash"])
            if signed_in is None:
                return Refused()
            await connection.execute(statement("forgive_attempts"), attempt.account, attempt.network, attempt.device_id)
        if is_outdated(user["password_hash"]):
            await self._upgrade_hash(user, claimed)
        return signed_in

    async def _verify(self, user: asyncpg.Record | None, claimed: Credentials, attempt: Attempt) -> bool:
        return await self._verify_hash(None if user is None else user["password_hash"], claimed.password, attempt)

    async def _verify_hash(self, stored: str | None, password: str, attempt: Attempt) -> bool:
        try:
            return await self._hashing.verify(stored, password, attempt.client, is_known=attempt.is_known)
        except Refusal:  # nothing was verified
            async with self._database.reading() as connection:
                await connection.execute(statement("drop_attempt"), attempt.id)
            raise

    async def _use_code(self, user: asyncpg.Record, code: str, now_ms: int) -> bool:
        step = matching_step(user["totp_secret"], code, now_ms, user["totp_step"])
        if step is None:
            return False
        async with self._database.reading() as connection:
            return bool(await connection.fetchval(statement("use_code"), user["id"], step))

    async def _mark_wrong_code(self, attempt: Attempt) -> None:
        async with self._database.reading() as connection:
            await connection.execute(statement("mark_wrong_code"), attempt.id)

    async def _upgrade_hash(self, user: asyncpg.Record, claimed: Credentials) -> None:
        """Hashes the password as one would today; at another sign-in if that is not possible now."""
        with suppress(Refusal, UnavailableError):
            made = await self._hashing.hash(claimed.password, claimed.network)
            async with self._database.reading() as connection:
                await connection.execute(statement("upgrade_hash"), user["id"], user["password_hash"], made)

    async def _known_device(self, connection: Connection, claimed: Credentials) -> int | None:
        if not claimed.device:
            return None
        arguments = (hashed(claimed.device), claimed.name.lower(), DEVICE_DAYS)
        found: int | None = await connection.fetchval(statement("find_device"), *arguments)
        return found

    async def _remember_device(self, connection: Connection, user_id: int, device: str) -> str:
        """The value of the cookie by which this browser is known from now on."""
        value = device or new_value()
        if device:
            await connection.execute(statement("touch_device"), hashed(device))
        else:
            await connection.execute(statement("add_device"), user_id, hashed(value))
            await connection.execute(statement("trim_devices"), user_id, MAX_DEVICES)
        return value

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        async with self._database.reading() as connection, connection.transaction():
            yield connection


def _too_many(seconds: int) -> CachedResponse:
    message = f"Too many attempts. Try again in {_spoken(seconds)}."
    return failure(429, message, {"Retry-After": str(seconds)})


def _spoken(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"{seconds} seconds" if seconds < 60 else f"{minutes} minutes" if minutes > 1 else "a minute"
