"""The pages: read and compressed once, when the service starts.

`index.html` is the page at `/`; every other file of the folder is below `/assets`. The page is served with its
`/assets/` replaced by `/assets/<version>/`, where the version is a hash of all files. Modules import each other by
relative paths, so they all carry that version, and a browser keeps them for a year. Under another version, and under
none, the same files are served to be revalidated: an old page may ask for them while replicas are replaced.
"""

import gzip
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from importlib.resources.abc import Traversable
from urllib.parse import unquote

from aiohttp import web
from msgspec import Struct

from rotary.http.negotiation import accepts_gzip
from rotary.http.responses import CachedResponse, ResponseTemplate

INDEX = "index.html"
PREFIX = "/assets/"
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_VERSION = re.compile(r"v-[0-9a-f]{16}")
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml; charset=utf-8",
    "webmanifest": "application/manifest+json; charset=utf-8",
    "woff2": "font/woff2",
}
_TEXT = "text/plain; charset=utf-8"
_COMPRESSED = frozenset({"image/png", "font/woff2"})
_WORTH_IT = 0.9
"""A file is sent compressed if that makes it smaller than this."""


class _File(Struct, frozen=True):
    """One file, as it is and compressed; the latter is the same where that gains nothing."""

    plain: CachedResponse
    compressed: CachedResponse

    def answer(self, request: web.BaseRequest) -> CachedResponse:
        return self.compressed if accepts_gzip(request) else self.plain


class _Content(Struct, frozen=True):
    """The bytes of a file, and the same compressed; None where that gains nothing."""

    kind: str
    tag: str
    plain: bytes
    small: bytes | None

    @classmethod
    def of(cls, name: str, content: bytes) -> "_Content":
        kind = _TYPES.get(name.rpartition(".")[2], _TEXT)
        small = content if kind in _COMPRESSED else gzip.compress(content, 9, mtime=0)
        is_worth_it = len(small) <= _WORTH_IT * len(content)
        tag = blake2b(content, digest_size=16).hexdigest()
        return cls(kind, tag, content, small if is_worth_it else None)

    def file(self, caching: str) -> _File:
        """As it is sent with this Cache-Control."""
        headers = {"Content-Type": self.kind, "Cache-Control": caching}
        if self.small is None:
            plain = CachedResponse(ResponseTemplate(200, headers), self.plain, f'"{self.tag}"')
            return _File(plain, plain)
        headers["Vary"] = "Accept-Encoding"
        packed = ResponseTemplate(200, headers | {"Content-Encoding": "gzip"})
        return _File(
            CachedResponse(ResponseTemplate(200, headers), self.plain, f'"{self.tag}"'),
            CachedResponse(packed, self.small, f'"{self.tag}-gzip"'),
        )


class StaticFiles:
    """The answers, by path."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """`files` are bytes by their paths below the folder. Raises KeyError without an index."""
        digest = blake2b(digest_size=8)
        for name in sorted(files):
            digest.update(name.encode() + b"\0" + files[name] + b"\0")
        self.version = f"v-{digest.hexdigest()}"
        index = files[INDEX].replace(PREFIX.encode(), f"{PREFIX}{self.version}/".encode())
        self._index = _Content.of(INDEX, index).file(_REVALIDATE)
        packed = {name: _Content.of(name, content) for name, content in files.items() if name != INDEX}
        self._kept = {name: content.file(_IMMUTABLE) for name, content in packed.items()}
        self._revalidated = {name: content.file(_REVALIDATE) for name, content in packed.items()}

    @classmethod
    def load(cls, folder: Traversable) -> "StaticFiles":
        """Reads a folder."""
        return cls(dict(_walk(folder, "")))

    def page(self, request: web.BaseRequest) -> CachedResponse:
        """The page."""
        return self._index.answer(request)

    def find(self, request: web.BaseRequest) -> CachedResponse | None:
        """The file that a path below `/assets` names. Names are looked up as they are: no path leads elsewhere."""
        path = unquote(request.raw_path.partition("?")[0].removeprefix(PREFIX))
        version, _, rest = path.partition("/")
        if _VERSION.fullmatch(version):
            found = (self._kept if version == self.version else self._revalidated).get(rest)
        else:
            found = self._revalidated.get(path)
        return None if found is None else found.answer(request)


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        else:
            yield f"{path}{entry.name}", entry.read_bytes()
