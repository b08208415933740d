"""The page at /docs: complete from this origin under a strict policy, with files that clients may keep for good."""

import gzip
import re
from collections.abc import Callable, Mapping

import pytest
from aiohttp.test_utils import make_mocked_request

from rotary.http.docs import docs_files, docs_page, docs_pages
from rotary.http.openapi import Json
from rotary.http.responses import CachedResponse
from rotary.http.static_files import StaticFiles, compressed
from rotary_campaigns.http.openapi import openapi as campaigns_openapi
from rotary_engine.http.openapi import openapi as engine_openapi
from rotary_query.http.openapi import openapi as query_openapi

SERVICES: Mapping[str, Callable[[], Json]] = {
    "query": query_openapi,
    "engine": engine_openapi,
    "campaigns": campaigns_openapi,
}
HTML = docs_page({"info": {"title": "Rotary"}}).plain.body.decode()
PLAIN = make_mocked_request("GET", "/")
GZIP = make_mocked_request("GET", "/", {"Accept-Encoding": "gzip, deflate, br"})


def headers(answer: CachedResponse) -> dict[str, str]:
    lines = answer.head.decode().split("\r\n")[1:-1]
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def loaded(html: str) -> list[str]:
    """The paths that the page loads."""
    return re.findall(r'(?:src|href)="(docs/[^"]+)"', html)


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_page_names_it_and_answers_every_file_that_it_loads(service: str) -> None:
    openapi = SERVICES[service]
    pages = docs_pages(openapi)
    html = pages["docs"].answer(PLAIN, "").body.decode()
    assert f"<title>{openapi()['info']['title']} · API reference</title>" in html
    names = [path.removeprefix("docs/") for path in loaded(html)]
    assert len(names) == 4
    for name in names:
        assert pages["docs_file"].answer(PLAIN, name).status == 200
    assert pages["docs_file"].answer(PLAIN, "docs.js").status == 404


def test_a_title_is_text_and_not_markup() -> None:
    html = docs_page({"info": {"title": "<b>&amp; co"}}).plain.body.decode()
    assert "<title>&lt;b&gt;&amp;amp; co · API reference</title>" in html


def test_the_page_has_no_script_and_no_style_but_those_of_its_own_origin() -> None:
    assert re.findall(r"<script(?! src=\"docs/)|<style|\son\w+=|\sstyle=|javascript:", HTML) == []
    assert re.findall(r"""["'(](?:https?:)?//[^"')]*""", HTML) == [
        "'http://www.w3.org/2000/svg"
    ]  # a name, not an address


def test_the_policy_allows_what_is_of_this_origin_and_nothing_inline() -> None:
    told = headers(docs_page({"info": {"title": "Rotary"}}).plain)
    policy = dict(part.strip().split(" ", 1) for part in told["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert "unsafe" not in told["Content-Security-Policy"]
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", loaded(HTML))
def test_a_file_may_be_kept_for_good_and_has_its_type(path: str) -> None:
    told = headers(docs_files().answer(GZIP, path.removeprefix("docs/")))
    assert told["Cache-Control"] == "public, max-age=31536000, immutable"
    assert told["Content-Type"] == ("text/javascript" if path.endswith(".js") else "text/css") + "; charset=utf-8"
    assert told["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", [path.removeprefix("docs/") for path in loaded(HTML)])
def test_both_encodings_hold_the_same_and_have_tags_of_their_own(name: str) -> None:
    plain, gzipped = (docs_files().answer(request, name) for request in (PLAIN, GZIP))
    assert gzip.decompress(gzipped.body) == plain.body
    assert "Content-Encoding" not in headers(plain)
    assert headers(gzipped)["Content-Encoding"] == "gzip"
    assert b"Content-Encoding" not in gzipped.not_modified
    assert headers(plain)["Vary"] == headers(gzipped)["Vary"] == "Accept-Encoding"
    assert re.fullmatch(r'"[0-9a-f]{32}"', plain.etag)
    assert plain.etag != gzipped.etag


def test_another_content_has_another_name_and_the_same_content_the_same() -> None:
    first, second = StaticFiles([("a.js", compressed(b"1"))]), StaticFiles([("a.js", compressed(b"2"))])
    other_zlib = StaticFiles([("a.js", gzip.compress(b"1", 1))])
    assert first.names["a.js"] != second.names["a.js"]
    assert first.names == other_zlib.names
    assert first.answer(PLAIN, second.names["a.js"]).status == 404
    assert first.answer(PLAIN, first.names["a.js"]).body == b"1"
