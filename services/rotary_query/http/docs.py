"""The pages that need no token."""

from rotary.http.docs import docs_page, document_page
from rotary.http.responses import CachedResponse
from rotary_query.http.endpoints import Kind
from rotary_query.http.openapi import openapi


def pages() -> dict[Kind, CachedResponse]:
    """The OpenAPI document, and itself rendered for people."""
    return {"openapi": document_page(openapi()), "docs": docs_page()}
