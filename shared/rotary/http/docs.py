"""The OpenAPI document, and Swagger UI, which renders it for people: answered without a token.

The renderer is vendored (infra/vendor.toml) and served from the service's own origin under a strict policy. Nothing is
loaded from another host, and a token that is typed into the page leaves it only in requests to this service.
"""

from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from importlib.resources import files

import msgspec

from rotary.http.openapi import Json
from rotary.http.responses import JSON
from rotary.http.static_files import CONTENT_TYPES, SAME_ORIGIN, Static, StaticFile, StaticFiles, compressed

FILES_PATTERN = "/docs/{file}"
_OWN = ("docs.css", "docs.js")
_VENDORED = ("swagger-ui.css", "swagger-ui-bundle.js")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    **SAME_ORIGIN,
}


@cache
def docs_pages(openapi: Callable[[], Json]) -> Mapping[str, Static]:
    """A service's document, and the page that renders it with its files, by the kinds of their paths. Made once."""
    document = openapi()
    return {"openapi": document_page(document), "docs": docs_page(document), "docs_file": docs_files()}


def document_page(document: Json) -> StaticFile:
    """The document as it is."""
    return StaticFile(compressed(msgspec.json.encode(document)), JSON)


def docs_page(document: Json) -> StaticFile:
    """The page that renders the document at /openapi.json. Its files are `docs_files`."""
    html = (files("rotary.http") / "assets" / "index.html").read_text()
    html = html.replace("{title}", escape(document["info"]["title"]))
    for name, versioned in docs_files().names.items():
        html = html.replace(f"{{{name}}}", f"docs/{versioned}")
    return StaticFile(compressed(html.encode()), CONTENT_TYPES[".html"], _HEADERS)


@cache
def docs_files() -> StaticFiles:
    """The scripts and styles of the page, ours and the renderer's."""
    assets = files("rotary.http") / "assets"
    own = [(name, compressed((assets / name).read_bytes())) for name in _OWN]
    return StaticFiles(own + [(name, (assets / "swagger-ui" / f"{name}.gz").read_bytes()) for name in _VENDORED])
