"""Password hashes that cost nothing: what hashing itself must cost and hold is stated in tests/unit.

They name the parameters that were asked for, and are verified cheaply. Every other hash is verified as always.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from unittest.mock import patch

from argon2 import PasswordHasher

_SALT = b"cheap, for tests"
_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_hash, _verify = PasswordHasher.hash, PasswordHasher.verify
_PARAMETERS = re.compile(r"m=\d+,t=\d+,p=\d+")
_MARK = _hash(_CHEAP, "", salt=_SALT).split("$")[4]


def cheap_hash(hasher: PasswordHasher, password: str) -> str:
    """A hash that says that it has the hasher's parameters."""
    claimed = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return _PARAMETERS.sub(claimed, _hash(_CHEAP, password, salt=_SALT), count=1)


def _verify_any(hasher: PasswordHasher, stored: str, password: str) -> Literal[True]:
    if f"${_MARK}$" not in stored:
        return _verify(hasher, stored, password)
    actual = f"m={_CHEAP.memory_cost},t={_CHEAP.time_cost},p={_CHEAP.parallelism}"
    return _verify(hasher, _PARAMETERS.sub(actual, stored, count=1), password)


@contextmanager
def cheap_passwords() -> Iterator[None]:
    """The product hashes cheaply in this process."""
    with patch.object(PasswordHasher, "hash", cheap_hash), patch.object(PasswordHasher, "verify", _verify_any):
        yield


@contextmanager
def costly_passwords() -> Iterator[None]:
    """The product hashes as always, also within `cheap_passwords`."""
    with patch.object(PasswordHasher, "hash", _hash), patch.object(PasswordHasher, "verify", _verify):
        yield
