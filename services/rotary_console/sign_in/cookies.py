"""The cookies: what they are called, and how they are set. Their values are random, and stored as hashes alone."""

import secrets
from hashlib import sha256
from typing import Literal

from aiohttp import hdrs, web
from msgspec import Struct

Name = Literal["session", "device", "oidc"]
DEVICE_DAYS = 180
OIDC_SECONDS = 600
_PREFIX = "rotary_"
_MAX_LENGTH = 200


def new_value() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def hashed(value: str) -> bytes:
    """What is stored of a cookie's value."""
    return sha256(value.encode("utf-8", "surrogateescape")).digest()


class Cookies(Struct, frozen=True):
    """Reads and writes the cookies. Over TLS they are Secure, and no other host can set them (`__Host-`)."""

    is_secure: bool

    def read(self, request: web.BaseRequest, name: Name) -> str:
        """The value that the browser sent; empty if there is none."""
        for line in request.headers.getall(hdrs.COOKIE, ()):
            for part in line.split(";"):
                key, _, value = part.strip().partition("=")
                if key == self.name_of(name) and len(value) <= _MAX_LENGTH:
                    return value
        return ""

    def set(self, name: Name, value: str, max_age: int | None = None, *, same_site: str = "Strict") -> str:
        """What sets a cookie (Set-Cookie); without a `max_age` it lasts as long as the browser."""
        age = "" if max_age is None else f"; Max-Age={max_age}"
        secure = "; Secure" if self.is_secure else ""
        return f"{self.name_of(name)}={value}; Path=/; HttpOnly; SameSite={same_site}{age}{secure}"

    def drop(self, name: Name) -> str:
        """What removes a cookie."""
        return self.set(name, "", 0)

    def name_of(self, name: Name) -> str:
        """What the cookie is called."""
        return f"{'__Host-' if self.is_secure else ''}{_PREFIX}{name}"
