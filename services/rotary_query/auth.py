"""Who asks: bearer tokens, found by their hash."""

from hashlib import sha256
from hmac import compare_digest

from msgspec import Struct

from rotary.definitions import SCOPE, TokenDefinition
from rotary_query.limits import SlidingWindow

NEVER_MS = 2**63


class Grant(Struct, eq=False):
    """A token that exists: whose it is, what it may, until when (UTC milliseconds), and what it has used."""

    sha256_hex: str
    customer_id: int
    in_scope: bool
    expires_ms: int
    window: SlidingWindow | None


def grant(sha256_hex: str, token: TokenDefinition, window: SlidingWindow | None) -> Grant:
    """What a token's document grants."""
    expires_ms = NEVER_MS if token.expires_at is None else int(token.expires_at.timestamp() * 1000)
    return Grant(sha256_hex, token.customer_id, SCOPE in token.scopes, expires_ms, window)


def hash_bearer(authorization: str) -> str | None:
    """The SHA-256, in hex, of the token in an Authorization header; None if it holds no bearer token.

    From here on hashes of 256 bits are looked up and compared, never tokens: how long that takes tells nothing about a
    token that would fit.
    """
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if not token or scheme.lower() != "bearer":
        return None
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def same_hash(a: str, b: str) -> bool:
    """Compares in constant time."""
    return compare_digest(a, b)
