"""Files that are answered without a token: compressed once, and immutable where the path has a hash of the content."""

import gzip
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Protocol

from aiohttp import web

from rotary.http.errors import RESOURCE_NOT_FOUND
from rotary.http.negotiation import accepts_gzip
from rotary.http.responses import CachedResponse, success, success_template

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For a path that never names other bytes."""
SAME_ORIGIN = {"Cross-Origin-Resource-Policy": "same-origin"}
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HASH_DIGITS = 16


class Static(Protocol):
    """What answers without a token, and without waiting."""

    def answer(self, request: web.BaseRequest, name: str) -> CachedResponse:
        """The answer; `name` is the text that the path ends with, if its pattern has one."""


class StaticFile:
    """One file, compressed. It is decompressed once, for the first client that does not take gzip."""

    def __init__(self, gzipped: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        self._headers = {"Vary": "Accept-Encoding", **(headers or {})}
        self._content_type = content_type
        template = success_template({"Content-Encoding": "gzip", **self._headers}, content_type)
        self.gzipped = success(gzipped, template)

    @cached_property
    def plain(self) -> CachedResponse:
        """The answer for clients that don't take gzip."""
        template = success_template(self._headers, self._content_type)
        return success(gzip.decompress(self.gzipped.body), template)

    def answer(self, request: web.BaseRequest, name: str) -> CachedResponse:  # noqa: ARG002  # it is the only one
        """The answer in an encoding that the client takes."""
        return self.gzipped if accepts_gzip(request) else self.plain


class StaticFiles:
    """Files by names that hold a hash of their content, so that clients keep them for good."""

    def __init__(self, files: Iterable[tuple[str, bytes]]) -> None:
        """`files` are names and gzipped contents. Raises KeyError for a name whose ending has no content type."""
        self._files: dict[str, StaticFile] = {}
        self.names: dict[str, str] = {}
        """The name to ask for, by file name."""
        for name, gzipped in files:
            path = PurePosixPath(name)
            # Of the content, not of its compressed form: replicas may have different versions of zlib.
            digest = sha256(gzip.decompress(gzipped)).hexdigest()[:_HASH_DIGITS]
            versioned = f"{path.stem}.{digest}{path.suffix}"
            self.names[name] = versioned
            self._files[versioned] = StaticFile(gzipped, CONTENT_TYPES[path.suffix], IMMUTABLE | SAME_ORIGIN)

    def answer(self, request: web.BaseRequest, name: str) -> CachedResponse:
        """The answer; 404 for any other name, also for one of another version."""
        file = self._files.get(name)
        return RESOURCE_NOT_FOUND if file is None else file.answer(request, name)


def compressed(content: bytes) -> bytes:
    """Gzipped; equal contents give equal bytes."""
    return gzip.compress(content, mtime=0)
