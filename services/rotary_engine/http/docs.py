"""The pages that need no token."""

from functools import cache

from rotary.http.docs import docs_files, docs_page, document_page
from rotary.http.static_files import Static
from rotary_engine.http.endpoints import Kind
from rotary_engine.http.openapi import openapi


@cache
def pages() -> dict[Kind, Static]:
    """The OpenAPI document, and the page that renders it for people with the files it is made of."""
    document = openapi()
    return {"openapi": document_page(document), "docs": docs_page(document), "docs_file": docs_files()}
