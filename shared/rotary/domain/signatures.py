"""The signature of a webhook: what a receiver checks before it believes one."""

import hmac
from hashlib import sha256

WINDOW_SECONDS = 300
"""How old, or how far ahead, a request's timestamp may be: for so long an overheard one is of use."""
_PREFIX = "sha256="


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-Rotary-Signature: `sha256=` and the HMAC, in hex, of the timestamp in decimal, a dot, the body."""
    return _PREFIX + hmac.new(secret.encode(), b"%d." % timestamp + body, sha256).hexdigest()


def is_authentic(secret: str, signature: str, timestamp: int, body: bytes, now: int) -> bool:
    """Whether the body was signed with this secret, at a time that is within 300 s of now (UTC seconds)."""
    is_fresh = abs(now - timestamp) <= WINDOW_SECONDS
    return hmac.compare_digest(signature.encode(), sign(secret, timestamp, body).encode()) and is_fresh
