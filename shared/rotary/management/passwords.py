"""Passwords of the console's users: what is accepted, how they are hashed, and how one is verified.

Hashing takes about a tenth of a second and 64 MiB, on purpose. Call `hash_password` and `verify_password` in a thread.
"""

import secrets
import string
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rotary.management.errors import InvalidError, Violation

MIN_LENGTH = 12
MAX_LENGTH = 256
_GENERATED_LETTERS = string.ascii_letters + string.digits
_GENERATED_LENGTH = 24  # 62^24 > 2^142
_MIN_LETTERS = 4

# argon2id of RFC 9106's second recommendation (64 MiB, three passes), in one lane: a server verifies several at once.
_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)


def check_password(password: str, user_name: str, field: str = "password") -> None:
    """Raises InvalidError for a password that is too short, too long or too easily guessed."""
    normal = _normal(password)
    if not MIN_LENGTH <= len(normal) <= MAX_LENGTH:
        raise InvalidError(Violation(field, f"Expected {MIN_LENGTH} to {MAX_LENGTH} characters."))
    if len(set(normal)) < _MIN_LETTERS:
        raise InvalidError(Violation(field, "It repeats the same few characters."))
    bare = user_name.partition("@")[0]
    if len(bare) > 2 and normal.lower().replace(bare, "").strip("0123456789!?.-_ ") == "":
        raise InvalidError(Violation(field, "It is the user name with little else."))


def generate_password() -> str:
    """A random password that can be typed."""
    return "".join(secrets.choice(_GENERATED_LETTERS) for _ in range(_GENERATED_LENGTH))


def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    return _hasher.hash(_normal(password))


def verify_password(stored: str | None, password: str) -> bool:
    """Whether this is the password. Without a stored hash it takes as long, and is false."""
    try:
        _hasher.verify(stored or _nobodys_hash(), _normal(password))
    except InvalidHashError:
        return verify_password(None, password)
    except VerificationError:
        return False
    return stored is not None


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))


def _normal(password: str) -> str:
    """One form for the same letters: keyboards compose Vietnamese letters in different ways."""
    return unicodedata.normalize("NFKC", password)
