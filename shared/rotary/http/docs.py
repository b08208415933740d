"""The pages that need no token: the OpenAPI document, and itself rendered for people, from files that we ship."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

import msgspec

from rotary.http.openapi import Json
from rotary.http.responses import CachedResponse, success, success_template

_HTML = "text/html; charset=utf-8"


def document_page(document: Json) -> CachedResponse:
    """The document as an answer."""
    return success(msgspec.json.encode(document))


def docs_page() -> CachedResponse:
    """The page that renders the document at /openapi.json, whatever service's it is."""
    folder = files("rotary.http") / "assets"
    page, style, script = (folder.joinpath(name).read_text() for name in ("index.html", "style.css", "script.js"))
    html = page.replace("/* style.css */", style).replace("/* script.js */", script)
    policy = (
        f"default-src 'none'; connect-src 'self'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return success(html.encode(), success_template(headers, _HTML))


def _hash(text: str) -> str:
    # The browser hashes what stands between the tags; the page has nothing else there.
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
