"""Who asks: bearer tokens, found by their hash."""

from hashlib import sha256
from hmac import compare_digest

from msgspec import Struct

from rotary.auth.rate_limit import TokenWindow
from rotary.bearer import checksum_status
from rotary.definitions import TokenDefinition

NEVER_MS = 2**63


class Grant(Struct, eq=False):
    """A token that exists: whose it is, what it may, until when (UTC milliseconds), and its rate limit."""

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
    """The SHA-256, in hex, of the token in an Authorization header; None if it holds no token that could exist.

    Hashes of 256 bits are looked up and compared, never tokens: the time that takes reveals nothing about a valid
    token. A token with a wrong checksum exists nowhere.
    """
    token = _bearer(authorization)
    if not token or checksum_status(token) == "invalid":
        return None
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def has_checksum(authorization: str) -> bool:
    """Whether the token in an Authorization header passes the check of its own characters."""
    return checksum_status(_bearer(authorization)) == "valid"


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same_hash(a: str, b: str) -> bool:
    """Compares in constant time."""
    return compare_digest(a, b)
