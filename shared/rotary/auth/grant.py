"""Bearer tokens, looked up by their hash."""

from hashlib import sha256
from hmac import compare_digest

from msgspec import Struct

from rotary.auth.rate_limit import TokenWindow
from rotary.bearer import checksum_status
from rotary.definitions import TokenDefinition

NEVER_MS = 2**63


class Grant(Struct, eq=False):
    """A valid token: its customer, scope, expiry in UTC milliseconds, and rate limit window (None is unlimited)."""

    sha256_hex: str
    customer_id: int
    scopes: frozenset[str]
    expires_ms: int
    window: TokenWindow | None


def grant(sha256_hex: str, token: TokenDefinition, window: TokenWindow | None) -> Grant:
    """What a token's document grants."""
    expires_ms = NEVER_MS if token.expires_at is None else int(token.expires_at.timestamp() * 1000)
    return Grant(sha256_hex, token.customer_id, frozenset(token.scopes), expires_ms, window)


def hash_bearer(authorization: str) -> str | None:
    """The SHA-256, in hex, of the token in an Authorization header; None without a token or with a wrong checksum.

    Only hashes are looked up and compared, so the time of a look-up reveals nothing about a valid token.
    """
    token = _bearer(authorization)
    if not token or checksum_status(token) == "invalid":
        return None
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def has_checksum(authorization: str) -> bool:
    """Whether the token in an Authorization header has a valid checksum."""
    return checksum_status(_bearer(authorization)) == "valid"


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same_hash(a: str, b: str) -> bool:
    """Compares in constant time."""
    return compare_digest(a, b)
