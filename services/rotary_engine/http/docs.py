"""The pages that need no token."""

from rotary.http.docs import docs_page, document_page
from rotary.http.responses import CachedResponse
from rotary_engine.http.endpoints import Kind
from rotary_engine.http.openapi import openapi


def pages() -> dict[Kind, CachedResponse]:
    """The OpenAPI document, and the page that renders it for people."""
    return {"openapi": document_page(openapi()), "docs": docs_page()}
