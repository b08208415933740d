"""The pages that need no token: the OpenAPI document, and itself rendered for people, from files that we ship."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

import msgspec

from rotary.http.responses import CachedResponse, success, success_template
from rotary_query.http.endpoints import Kind
from rotary_query.http.openapi import openapi

_HTML = "text/html; charset=utf-8"


def pages() -> dict[Kind, CachedResponse]:
    """Both pages, as answers."""
    return {"openapi": success(msgspec.json.encode(openapi())), "docs": _docs()}


def _docs() -> CachedResponse:
    folder = files("rotary_query.http") / "assets"
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
